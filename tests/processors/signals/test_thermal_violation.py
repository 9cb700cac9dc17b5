from __future__ import annotations

import pytest

from processors.testing import Observations, judge
from schemas.fields import THERMAL_VIOLATION
from schemas.records import Reason

NS = 1_000_000_000


def held_back(share: float, *, seconds: int = 100, every_s: int = 1, start: float = 0) -> Observations:
    """The clocks are down for this share of each second."""
    log = Observations()
    for second in range(0, seconds, every_s):
        log.frame("n1", 1.0 + second, {THERMAL_VIOLATION: start + share * NS * second})
    return log


def seen(log: Observations) -> list[Reason]:
    return [why for score in judge(log).scores for why in score.reasons if why.signal == "thermal_violation"]


@pytest.mark.parametrize("every_s", [1, 10, 30])
@pytest.mark.parametrize(("share", "worst"), [(0.0, ""), (0.08, ""), (0.2, "warning"), (0.9, "critical")])
def test_the_share_of_a_minute_counts_however_often_it_is_sampled(share: float, worst: str, every_s: int) -> None:
    found = {why.level for why in seen(held_back(share, every_s=every_s, seconds=200))}
    assert next((level for level in ("critical", "warning") if level in found), "") == worst


def test_a_counter_beyond_2_to_the_47_is_a_counter() -> None:
    """In ns, that is 39 hours."""
    assert {why.level for why in seen(held_back(0.9, start=2.0**47 - 10 * NS))} == {"warning", "critical"}


def test_what_it_stood_at_before_we_came_is_nothing_new() -> None:
    assert seen(held_back(0.0, start=1e15)) == []


def test_a_restart_counts_from_zero() -> None:
    log = held_back(0.02, seconds=50, start=1e15)
    for second in range(50, 100):
        log.frame("n1", 1.0 + second, {THERMAL_VIOLATION: 0.02 * NS * (second - 50)})
    assert seen(log) == []


@pytest.mark.parametrize("silence_s", [3600, 90])
def test_what_happened_in_a_silence_is_not_of_the_last_minute(silence_s: int) -> None:
    log = held_back(0.0, seconds=5)
    log.frame("n1", silence_s, {THERMAL_VIOLATION: 80 * NS}).frame("n1", silence_s + 1, {THERMAL_VIOLATION: 80 * NS})
    assert seen(log.tick(silence_s + 10.0)) == []


def test_a_blank_is_no_opinion() -> None:
    log = held_back(0.9).frame("n1", 101.0, {THERMAL_VIOLATION: None}).tick(110.0)
    (score,) = judge(log).latest.values()
    assert [why.signal for why in score.reasons if why.signal == "thermal_violation"] == []


def test_it_ends_with_the_minute_and_is_told_in_words() -> None:
    log = held_back(0.9, seconds=100)
    assert seen(log)[-1].text.startswith("heat held the clocks down in ")
    for second in range(100, 200):
        log.frame("n1", 1.0 + second, {THERMAL_VIOLATION: 0.9 * NS * 99})
    (score,) = judge(log.tick(210.0)).latest.values()
    assert [why.signal for why in score.reasons if why.signal == "thermal_violation"] == []
