"""Signals on counters share their behaviour (`processors.counting`); each is held to all of it."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from processors.testing import Observations, Said, judge
from schemas.fields import ECC_SBE_VOLATILE, NVLINK_CRC_FLIT_TOTAL, PCIE_REPLAY_COUNTER
from schemas.records import Rate


class Case(NamedTuple):
    """A signal: many = the lowest count that is a warning."""

    signal: str
    field: int
    many: int
    window_s: int
    slot_s: int
    quantity: str
    unit: str


@pytest.fixture(
    params=[
        Case("correctable_ecc", ECC_SBE_VOLATILE, 11, 3600, 60, "errors_per_hour", "errors/h"),
        Case("nvlink_crc", NVLINK_CRC_FLIT_TOTAL, 101, 3600, 120, "errors_per_hour", "errors/h"),
        Case("pcie_replay", PCIE_REPLAY_COUNTER, 32, 60, 5, "replays_per_minute", "replays/min"),
    ],
    ids=lambda case: case.signal,
)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def counted(case: Case, *samples: tuple[float, float | None]) -> Observations:
    log = Observations()
    for at_s, count in samples:
        log.frame("n1", at_s, {case.field: count})
    return log


def rates(case: Case, said: Said) -> list[Rate]:
    return [rate for rate in said.rates if rate.signal == case.signal]


def levels(case: Case, said: Said) -> list[str]:
    """One after the other; the heartbeat repeats them."""
    told = [rate.level for rate in rates(case, said)]
    return [level for at, level in enumerate(told) if at == 0 or level != told[at - 1]]


def test_the_reason_in_words(case: Case) -> None:
    (score,) = judge(counted(case, (1, 0), (2, case.many)).tick(6.0)).scores
    (why,) = score.reasons
    assert (why.quantity, why.unit, why.value) == (case.quantity, case.unit, case.many)
    link = " on a Gen5 x16 link" if case.signal == "pcie_replay" else ""
    assert why.text == f"{case.signal.replace('_', ' ')}: {case.many} {case.unit} (warning limit {case.many - 1}{link})"


def test_it_ends_with_the_window_and_the_rate_is_told_at_each_change(case: Case) -> None:
    log = counted(case, (1, 0), (2, case.many), (case.window_s - 5, case.many))
    assert levels(case, judge(log.tick(case.window_s + 0.0))) == ["fine", "warning"]
    gone_s = case.window_s + case.slot_s + 2.0
    log.frame("n1", gone_s, {case.field: case.many}).tick(gone_s + 8.0)
    said = judge(log)
    assert levels(case, said) == ["fine", "warning", "fine"]
    assert rates(case, said)[-1].value == 0.0


def test_a_blank_is_no_opinion_and_forgets_nothing(case: Case) -> None:
    log = counted(case, (1, 0), (2, case.many - 1), (3, None), (4, case.many))
    said = judge(log.tick(10.0))
    assert levels(case, said) == ["fine", "none", "warning"]
    assert [rate.value for rate in rates(case, said)] == [0.0, None, case.many]


def test_the_slow_heartbeat_repeats_what_is_not_zero(case: Case) -> None:
    log = counted(case, (1, 0), (898, case.many), (899, case.many))
    said = judge(log.tick(901.0).tick(906.0).tick(911.0))
    assert [(rate.level, rate.value) for rate in rates(case, said)] == [
        ("fine", 0.0),
        ("warning", case.many),
        ("warning", case.many),
    ]
