from __future__ import annotations

import pytest

from pipeline.policies import load
from processors.kit import check_signal
from processors.signals.retirement_pending import RetirementPending
from processors.testing import Observations, judge
from schemas.fields import GPU_TEMP, RETIRED_PENDING


def test_it_keeps_the_contract_of_signals() -> None:
    check_signal(RetirementPending)


@pytest.mark.parametrize(("flag", "cap"), [(None, 1.0), (0, 1.0), (1, 0.7)])
def test_a_pending_retirement_is_a_warning(flag: float | None, cap: float) -> None:
    (score,) = judge(Observations().frame("n1", 1.0, {GPU_TEMP: 50, RETIRED_PENDING: flag}).tick(6.0)).scores
    assert score.score == cap
    assert [why.text for why in score.reasons] == (["page retirement waits for a reset"] if cap < 1.0 else [])


def test_a_reset_clears_it_and_a_blank_does_not() -> None:
    log = Observations().frame("n1", 1.0, {RETIRED_PENDING: 1}).frame("n1", 2.0, {RETIRED_PENDING: None}).tick(6.0)
    assert judge(log).scores[-1].score == 0.7
    assert judge(log.frame("n1", 7.0, {RETIRED_PENDING: 0}).tick(12.0)).scores[-1].score == 1.0


def test_the_specification_collects_it_without_effect() -> None:
    log = Observations().policy(0.0, load("spec")).frame("n1", 1.0, {RETIRED_PENDING: 1}).tick(6.0)
    (score,) = judge(log).scores
    assert (score.score, [why.level for why in score.reasons]) == (1.0, ["warning"])
