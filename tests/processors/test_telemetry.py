"""Frames in: clocks of nodes, doubles, order and epochs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from processors.testing import Observations, judge
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP
from tests.processors.node_logs import HOUR, newest

# --- clocks of nodes ---------------------------------------------------------------------------------------------


def errors(ahead_s: Sequence[float], *, epoch_at: int | None = None) -> Observations:
    """A frame a minute with one more correctable error in each; the node's clock is off by `ahead_s[minute]`."""
    log = Observations()
    for minute, ahead in enumerate(ahead_s):
        at_s = 1.0 + 60.0 * minute
        epoch = 1 if epoch_at is None or minute < epoch_at else 2
        log.frame("n1", at_s, {ECC_SBE_VOLATILE: minute}, ticks_s=[at_s + ahead], append_s=at_s, epoch=epoch)
    return log


@pytest.mark.parametrize("ahead_s", [0.0, HOUR, -HOUR, 1e9, -1.7e9])
def test_windows_count_an_hour_whatever_the_clock_of_the_node_says(ahead_s: float) -> None:
    assert newest(judge(errors([ahead_s] * 12).tick(665.0))).score == 0.7  # 11 errors
    log = errors([ahead_s] * 12)
    for minute in range(12, 75):
        at_s = 1.0 + 60.0 * minute
        log.frame("n1", at_s, {ECC_SBE_VOLATILE: 11}, ticks_s=[at_s + ahead_s], append_s=at_s)
    assert newest(judge(log.tick(75 * 60.0))).score == 1.0


@pytest.mark.parametrize(("step_s", "corrections"), [(HOUR, 1), (-HOUR, 1), (10.0, 1), (5.0, 0), (-10.0, 0)])
def test_a_clock_that_steps_loses_nothing_and_counts_nothing_twice(step_s: float, corrections: int) -> None:
    said = judge(errors([0.0] * 6 + [step_s] * 6).tick(700.0).tick(900.0))
    assert (newest(said).score, newest(said).reasons[0].value) == (0.7, 11.0)
    assert said.counts["clock_corrections"] == corrections


def test_a_new_agent_is_believed_again() -> None:
    log = errors([HOUR] * 6 + [0.0] * 6, epoch_at=6).tick(665.0)
    said = judge(log)
    assert newest(said).score == 0.7
    assert said.counts["clock_corrections"] == 1


def test_xids_are_counted_in_the_time_of_their_node() -> None:
    for ahead in (0.0, HOUR, -HOUR):
        log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}, ticks_s=[1.0 + ahead], append_s=1.0)
        for number in range(11):
            at_s = 10.0 + 300 * number
            log.frame("n1", at_s, {GPU_TEMP: 50}, ticks_s=[at_s + ahead], append_s=at_s)
            log.fault("n1", at_s + ahead, 94, append_s=at_s)
        assert newest(judge(log)).score == 0.0, ahead


def test_lines_coalesce_in_the_time_of_their_node() -> None:
    for ahead in (0.0, HOUR, -HOUR):
        log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}, ticks_s=[1.0 + ahead], append_s=1.0)
        for at_s in (3.0, 4.0, 6.0, 9.0):  # a timer fires at 5
            log.fault("n1", at_s + ahead, 94, append_s=at_s)
        told = [(xid.repeat, xid.repeats) for xid in judge(log.tick(70.0)).xids]
        assert told == [(False, 0), (True, 2)], ahead


# --- doubles, order, epochs --------------------------------------------------------------------------------------


def counts(log: Observations) -> dict[str, int]:
    return {name: count for name, count in judge(log.tick(100.0)).counts.items() if count}


def numbered(*numbers: tuple[int, int]) -> Observations:
    """Frames with these (epoch, seq), each with one more error."""
    log = Observations()
    for at, (epoch, seq) in enumerate(numbers):
        log.frame("n1", 1.0 + at, {ECC_SBE_VOLATILE: at}, epoch=epoch, seq=seq)
    return log


def test_doubles_reordered_and_late_records_are_dropped_and_counted() -> None:
    assert counts(numbered((1, 1), (1, 2), (1, 2))) == {"duplicates": 1}
    assert counts(numbered((1, 1), (1, 3), (1, 2))) == {"missing": 1, "duplicates": 1}
    assert counts(numbered((2, 1), (1, 7), (2, 2))) == {"late": 1}
    assert counts(numbered((1, 9), (2, 0), (2, 1))) == {}


def test_a_dropped_frame_leaves_no_trace() -> None:
    kept, dropped = numbered((1, 1), (1, 2), (1, 3)), numbered((1, 1), (1, 2))
    dropped.frame("n1", 2.5, {ECC_SBE_VOLATILE: 10_000, GPU_TEMP: 99}, epoch=1, seq=2)
    dropped.frame("n1", 3.0, {ECC_SBE_VOLATILE: 2}, epoch=1, seq=3)
    assert judge(dropped.tick(10.0)).scores == judge(kept.tick(10.0)).scores


def test_faults_and_telemetry_are_numbered_apart() -> None:
    log = (
        Observations().frame("n1", 1.0, {GPU_TEMP: 50}, seq=100).fault("n1", 2.0, 94, seq=5).fault("n1", 3.0, 94, seq=5)
    )
    log.frame("n1", 4.0, {GPU_TEMP: 50}, seq=101)
    assert counts(log) == {"duplicates": 1}
