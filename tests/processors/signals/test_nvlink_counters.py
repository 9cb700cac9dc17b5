"""NVLink's counters of all links together: errors within an hour and a minute, replays, recoveries."""

from __future__ import annotations

import pytest

from pipeline.policies import load
from processors.testing import Observations, judge
from schemas.fields import (
    NVLINK_CRC_FLIT_TOTAL,
    NVLINK_NOT_RECOVERED,
    NVLINK_RECOVERED,
    NVLINK_RECOVERY_TOTAL,
    NVLINK_REPLAY_TOTAL,
    NVLINK_RX_ERRORS,
)
from schemas.records import Reason

Value = float | None


def seen(signal: str, log: Observations) -> list[Reason]:
    (score,) = judge(log).latest.values()
    return [why for why in score.reasons if why.signal == signal]


def after(field: int, *counts: Value, apart_s: float = 1.0) -> Observations:
    """One count after the other; the last is what is judged, at once."""
    log = Observations()
    for number, count in enumerate(counts):
        log.frame("n1", 1.0 + number * apart_s, {field: count})
    return log.tick(1.0 + len(counts) * apart_s + 5.0)


# signal, field, the most that is fine, the level beyond
LIMITS = [
    ("nvlink_crc", NVLINK_CRC_FLIT_TOTAL, 100, "warning"),
    ("nvlink_crc", NVLINK_RX_ERRORS, 100, "warning"),
    ("nvlink_burst", NVLINK_CRC_FLIT_TOTAL, 5999, "critical"),
    ("nvlink_burst", NVLINK_RX_ERRORS, 5999, "critical"),
    ("nvlink_replay", NVLINK_REPLAY_TOTAL, 0, "warning"),
    ("nvlink_recovery", NVLINK_RECOVERY_TOTAL, 0, "warning"),
    ("nvlink_recovery", NVLINK_RECOVERED, 0, "warning"),
]


@pytest.mark.parametrize(("signal", "field", "fine", "level"), LIMITS)
def test_limits(signal: str, field: int, fine: int, level: str) -> None:
    assert seen(signal, after(field, 7, 7 + fine)) == []
    (why,) = seen(signal, after(field, 7, 8 + fine))
    assert (why.level, why.value) == (level, fine + 1)
    assert [why.level for why in seen(signal, after(field, 7, None, 8 + fine))] == [level]  # a blank forgets nothing
    assert seen(signal, after(field, 7, 8 + fine, None)) == []  # a blank is no opinion
    assert seen(signal, after(field, 10**9)) == []  # the first sight is nothing new
    assert seen(signal, after(field, 10**9, 0)) == []  # a restart
    assert [why.level for why in seen(signal, after(field, 10**9, fine + 1))] == [level]  # and errors since then


@pytest.mark.parametrize(("signal", "field", "fine", "level"), LIMITS)
def test_the_specification_judges_crc_errors_alone(signal: str, field: int, fine: int, level: str) -> None:
    log = Observations().policy(0.0, load("spec"))
    log.frame("n1", 1.0, {field: 7}).frame("n1", 2.0, {field: 8 + fine})
    assert bool(seen(signal, log.tick(8.0))) == (signal == "nvlink_crc")


def test_they_are_over_after_a_minute() -> None:
    log = after(NVLINK_REPLAY_TOTAL, 0, 1)
    assert [why.signal for why in judge(log).scores[-1].reasons] == ["nvlink_replay"]
    for second in range(9, 70):
        log.frame("n1", second, {NVLINK_REPLAY_TOTAL: 1})
    assert seen("nvlink_replay", log.tick(75.0)) == []


@pytest.mark.parametrize("every_s", [1, 5, 30])
def test_a_burst_is_one_however_often_it_is_sampled(every_s: int) -> None:
    """DCGM fails at 100 a second."""
    for per_second, level in ((95, []), (150, ["critical"])):
        counts = [per_second * second for second in range(0, 121, every_s)]
        found = seen("nvlink_burst", after(NVLINK_CRC_FLIT_TOTAL, *counts, apart_s=every_s))
        assert [why.level for why in found] == level


def test_both_counters_of_recoveries_count() -> None:
    log = Observations().frame("n1", 1.0, {NVLINK_RECOVERY_TOTAL: 0, NVLINK_RECOVERED: 0})
    log.frame("n1", 2.0, {NVLINK_RECOVERY_TOTAL: 1, NVLINK_RECOVERED: 2}).tick(8.0)
    assert [why.value for why in seen("nvlink_recovery", log)] == [3.0]


def test_a_link_that_did_not_recover_stays_told_until_a_reset() -> None:
    log = after(NVLINK_NOT_RECOVERED, 0, 1)
    for second in range(9, 200):
        log.frame("n1", second, {NVLINK_NOT_RECOVERED: 1})
    (why,) = seen("nvlink_unrecovered", log)
    assert (why.level, why.text) == (
        "critical",
        "1 recoveries of an NVLink failed since the last reset: reset the GPU",
    )
    assert seen("nvlink_unrecovered", log.frame("n1", 201.0, {NVLINK_NOT_RECOVERED: 0}).tick(210.0)) == []


def test_what_did_not_recover_counts_at_first_sight_too() -> None:
    assert [why.level for why in seen("nvlink_unrecovered", after(NVLINK_NOT_RECOVERED, 2))] == ["critical"]
    assert seen("nvlink_unrecovered", after(NVLINK_NOT_RECOVERED, None)) == []
