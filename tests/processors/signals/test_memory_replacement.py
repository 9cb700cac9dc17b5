from __future__ import annotations

from typing import Any

import pytest

from processors.kit import check_signal
from processors.signals.memory_replacement import MemoryReplacement
from processors.testing import Observations, judge
from schemas.fields import MEMORY_UNREPAIRABLE, SRAM_THRESHOLD
from schemas.states import Action

SRAM = "SRAM has exceeded its threshold of uncorrectable errors: run the field diagnostic, replace the GPU"
PAST_REPAIR = "memory is past repair: replace the GPU"


def flags(log: Observations, at_s: float, sram: float | None, unrepairable: float | None) -> Observations:
    return log.frame("n1", at_s, {SRAM_THRESHOLD: sram, MEMORY_UNREPAIRABLE: unrepairable})


def test_it_keeps_the_contract_of_signals() -> None:
    check_signal(MemoryReplacement)


@pytest.mark.parametrize(
    ("sram", "unrepairable", "text"),
    [
        (None, None, []),
        (0, None, []),
        (0, 0, []),
        (1, None, [SRAM]),
        (1, 0, [SRAM]),
        (0, 1, [PAST_REPAIR]),
        (None, 1, [PAST_REPAIR]),
        (1, 1, [PAST_REPAIR]),
    ],
)
def test_either_flag_wants_a_replacement(sram: Any, unrepairable: Any, text: list[str]) -> None:
    change = judge(flags(Observations(), 1.0, sram, unrepairable).tick(6.0)).conditions[-1]
    assert [why.text for why in change.reasons if why.signal == "memory_replacement"] == text
    assert (change.score, change.action) == ((0.0, Action.EVICT_PERMANENTLY) if text else (1.0, Action.NONE))
    assert not change.hard  # budgets may hold it back: the GPU still works


def test_a_blank_takes_nothing_back() -> None:
    log = flags(flags(Observations(), 1.0, 1, 0).tick(6.0), 7.0, None, None).tick(12.0)
    assert judge(log).conditions[-1].score == 0.0


def test_an_operator_accepts_the_flag_that_stands_and_not_a_graver_one() -> None:
    log = flags(Observations(), 1.0, 1, 0).tick(6.0).restore("n1", 7.0)
    assert judge(log).conditions[-1].score == 1.0
    assert judge(flags(log, 8.0, 1, 0).tick(15.0)).conditions[-1].score == 1.0
    assert judge(flags(log, 16.0, 1, 1).tick(20.0)).conditions[-1].score == 0.0
