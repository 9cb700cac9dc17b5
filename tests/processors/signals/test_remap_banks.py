from __future__ import annotations

from typing import Any

import pytest

from pipeline.policies import load
from processors.kit import check_signal
from processors.policy import from_document
from processors.signals.remap_banks import RemapBanks
from processors.testing import Observations, judge
from schemas.fields import BANKS_LOW, BANKS_NONE, GPU_TEMP


def banks(low: float | None, none: float | None, log: Observations | None = None) -> Observations:
    return (log or Observations()).frame("n1", 1.0, {GPU_TEMP: 50, BANKS_LOW: low, BANKS_NONE: none}).tick(6.0)


def test_it_keeps_the_contract_of_signals() -> None:
    check_signal(RemapBanks)


@pytest.mark.parametrize(
    ("low", "none", "cap", "text"),
    [
        (None, None, 1.0, []),
        (0, 0, 1.0, []),
        (0, None, 1.0, []),
        (1, 0, 0.9, ["1 memory banks with few spare rows left"]),
        (3, None, 0.9, ["3 memory banks with few spare rows left"]),
        (0, 1, 0.5, ["1 memory banks with no spare rows left"]),
        (40, 2, 0.5, ["2 memory banks with no spare rows left"]),
        (None, 2, 0.5, ["2 memory banks with no spare rows left"]),
    ],
)
def test_spare_rows_run_out(low: Any, none: Any, cap: float, text: list[str]) -> None:
    (score,) = judge(banks(low, none)).scores
    assert (score.score, [why.text for why in score.reasons]) == (cap, text)
    assert [why.value for why in score.reasons] == ([none or low] if text else [])


def test_how_many_banks_matter_is_policy() -> None:
    policy = from_document("x", {"signals": {"remap_banks": {"low_banks": 9, "exhausted_banks": 2}}})
    (score,) = judge(banks(8, 1, Observations().policy(0.0, policy))).scores
    assert score.score == 1.0
    (score,) = judge(banks(9, 1, Observations().policy(0.0, policy))).scores
    assert score.score == 0.9


def test_the_specification_does_not_know_it() -> None:
    (score,) = judge(banks(1, 1, Observations().policy(0.0, load("spec")))).scores
    assert (score.score, score.reasons) == (1.0, [])
