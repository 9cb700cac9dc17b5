from __future__ import annotations

import pytest

from processors.node import NodeTask
from processors.signals.blanks import Blanks
from processors.testing import Observations, judge
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP, MEM_CLOCK


def texts(log: Observations) -> list[str]:
    scores = judge(log, NodeTask(signals=(Blanks(),))).scores
    return [reason.text for score in scores for reason in score.reasons]


def frames(log: Observations, start_s: int, end_s: int, value: float | None) -> Observations:
    for second in range(start_s, end_s):
        log.frame("n1", second, {GPU_TEMP: value, MEM_CLOCK: value})
    return log


def test_it_says_for_how_long() -> None:
    log = frames(frames(Observations(), 1, 20, 50), 20, 40, None)
    assert texts(log) == ["every value blank for 11 s"]


def test_ten_seconds_are_the_limit() -> None:
    for blank_s, expected in ((9, 0), (10, 1)):  # the last value came at second 5, the timer fires at 15
        log = frames(frames(Observations(), 1, 16 - blank_s, 50), 16 - blank_s, 16, None).tick(15.0)
        assert len(texts(log)) == expected, blank_s


def test_a_gpu_that_never_had_a_value_is_unknown_from_the_first_timer_on() -> None:
    assert texts(frames(Observations(), 1, 7, None)) == ["every value is blank"]


@pytest.mark.parametrize("columns", [{GPU_TEMP: 50, MEM_CLOCK: None}, {ECC_SBE_VOLATILE: 0}])
def test_one_value_is_enough(columns: dict[int, float | None]) -> None:
    log = Observations()
    for second in range(1, 40):
        log.frame("n1", second, columns)
    assert judge(log).latest.popitem()[1].condition == "healthy"


def test_silence_is_for_presence_to_tell() -> None:
    assert texts(frames(Observations(), 1, 10, 50).ticks(11.0, 60.0)) == []
