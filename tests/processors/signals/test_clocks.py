from __future__ import annotations

import pytest

from pipeline.policies import load
from processors.policy import from_document
from processors.testing import Observations, judge
from schemas.fields import CLOCK_EVENT_REASONS, POWER, POWER_LIMIT, SM_CLOCK


def throttled(seconds: int, *, every_s: int = 1, of_s: int = 1) -> Observations:
    """Thermal slowdown in `every_s` of each `of_s` seconds."""
    log = Observations()
    for second in range(1, seconds):
        log.frame("n1", second, {CLOCK_EVENT_REASONS: 0x20 if second % of_s < every_s else 0x0})
    return log


def seen(log: Observations) -> set[str]:
    return {why.level for score in judge(log).scores for why in score.reasons if why.signal == "clocks"}


def test_the_share_of_time_counts() -> None:
    assert seen(throttled(200, every_s=1, of_s=20)) == set()
    assert seen(throttled(200, every_s=1, of_s=5)) == {"warning"}
    assert seen(throttled(200, every_s=4, of_s=5)) == {"warning", "critical"}


def test_smoothing_is_in_seconds_not_samples() -> None:
    """The same throttling, sampled every second and every five seconds: critical after about as long."""
    log = Observations()
    for second in range(1, 300, 5):
        log.frame("n1", second, {CLOCK_EVENT_REASONS: 0x20})
    found = []
    for each in (throttled(300), log):
        (critical,) = [s for s in judge(each).scores if "critical" in {why.level for why in s.reasons}]
        found.append(critical.ts // 1000)
    assert abs(found[0] - found[1]) <= 10


def test_the_first_sample_is_no_opinion_on_how_long_it_has_been() -> None:
    assert seen(Observations().frame("n1", 1.0, {CLOCK_EVENT_REASONS: 0xE0}).tick(10.0)) == set()


def test_the_reason_in_words() -> None:
    (score,) = judge(Observations().policy(0.0, load("spec")).frame("n1", 1.0, {SM_CLOCK: 1500.0}).tick(6.0)).scores
    (why,) = score.reasons
    assert (why.text, why.unit) == ("clocks: 18 % slow (critical limit 15)", "%")


def test_boost_is_policy() -> None:
    policy = from_document("x", {"signals": {"clocks": {"judge_by": "deficit", "boost_mhz": 2000.0}}})
    assert seen(Observations().policy(0.0, policy).frame("n1", 1.0, {SM_CLOCK: 1799.0}).tick(6.0)) == {"warning"}


@pytest.mark.parametrize(("power", "limit"), [(None, 700.0), (100.0, None), (None, None)])
def test_without_power_or_its_limit_the_idle_bit_tells(power: float | None, limit: float | None) -> None:
    log = Observations()
    for second in range(1, 120):
        log.frame("n1", second, {CLOCK_EVENT_REASONS: 0x20, POWER: power, POWER_LIMIT: limit})
    assert seen(log) == {"warning", "critical"}
