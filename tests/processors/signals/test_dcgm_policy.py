from __future__ import annotations

import pytest

from processors.kit import check_signal
from processors.signals.dcgm_policy import DcgmPolicy
from processors.testing import Observations, gpu, judge
from schemas import records
from schemas.fields import GPU_TEMP
from schemas.states import Action

GPU = gpu("n1")


def violated(*conditions: str) -> Observations:
    """A GPU in good health, and then these violations, one a second."""
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    for at, condition in enumerate(conditions):
        log.report(7.0 + at, records.PolicyViolation(ts=0, node="n1", uuid=GPU.uuid, bdf=GPU.bdf, condition=condition))
    return log


def alive(log: Observations, until_s: int) -> Observations:
    for second in range(60, until_s, 60):
        log.frame("n1", second, {GPU_TEMP: 50})
    return log.tick(until_s)


def test_it_keeps_the_contract_of_signals() -> None:
    check_signal(DcgmPolicy)


@pytest.mark.parametrize(
    ("condition", "score", "corruption", "texts"),
    [
        ("dbe", 0.0, True, ["DCGM policy: uncorrectable memory error"]),
        ("pcie", 0.7, False, ["DCGM policy violated: PCIe replays"]),
        ("retired-pages", 0.7, False, ["DCGM policy violated: retired memory pages"]),
        ("thermal", 0.7, False, ["DCGM policy violated: heat"]),
        ("power", 0.7, False, ["DCGM policy violated: power"]),
        ("nvlink", 0.7, False, ["DCGM policy violated: NVLink errors"]),
        ("xid", 1.0, False, []),
        ("not yet known", 1.0, False, []),
    ],
)
def test_each_condition(condition: str, score: float, corruption: bool, texts: list[str]) -> None:
    change = judge(violated(condition)).conditions[-1]
    assert (change.score, change.corruption, [why.text for why in change.reasons]) == (score, corruption, texts)
    assert change.action is {0.0: Action.EVICT, 0.7: Action.MONITOR, 1.0: Action.NONE}[score]


def test_what_passes_passes_an_hour_after_the_last() -> None:
    log = alive(violated("pcie", "thermal"), 3600)
    assert judge(log).conditions[-1].score == 0.7
    assert judge(alive(log, 3700)).conditions[-1].score == 1.0


def test_an_uncorrectable_error_stays_until_an_operator_has_looked() -> None:
    log = alive(violated("dbe", "thermal"), 7200)
    assert judge(log).conditions[-1].score == 0.0
    assert judge(log.restore("n1", 7201.0)).conditions[-1].score == 1.0
