from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.kit import check_signal
from processors.signals.diagnostic import Diagnostic
from processors.signals.diagnostic_incomplete import DiagnosticIncomplete
from processors.testing import Observations, Said, gpu, judge
from schemas import records
from schemas.fields import GPU_TEMP
from schemas.states import Action

GPU = gpu("n1")


def checked(name: str, result: str, *codes: int) -> records.DiagnosticTest:
    return records.DiagnosticTest(name=name, result=result, codes=list(codes))


def run(result: str, *tests: records.DiagnosticTest, level: int = 2, **more: Any) -> records.Diagnostic:
    return records.Diagnostic(
        ts=0,
        node="n1",
        uuid=GPU.uuid,
        bdf=GPU.bdf,
        tool="dcgmi diag",
        level=level,
        result=result,
        tests=list(tests),
        **more,
    )


def ran(*runs: records.Diagnostic) -> Observations:
    """A GPU in good health, and then these, one a second."""
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    for at, each in enumerate(runs):
        log.report(7.0 + at, each)
    return log


def found(said: Said) -> tuple[float, Action, bool, list[str]]:
    change = said.conditions[-1]
    texts = [why.text for why in change.reasons if why.signal == "diagnostic"]
    return change.score, change.action, change.corruption, texts


EVICT, REPLACE, MONITOR, NONE = Action.EVICT, Action.EVICT_PERMANENTLY, Action.MONITOR, Action.NONE
FAULTY = "diagnostic failed: the memory test found faulty memory"


@pytest.mark.parametrize("signal", [Diagnostic, DiagnosticIncomplete])
def test_they_keep_the_contract_of_signals(signal: Any) -> None:
    check_signal(signal)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (run("pass", checked("memory", "pass")), (1.0, NONE, False, [])),
        (
            run("warn", checked("pcie", "warn", 98)),
            (0.7, MONITOR, False, ["diagnostic has warnings: PCIe replays on the host's side during the test"]),
        ),
        (run("warn"), (0.7, MONITOR, False, ["diagnostic has warnings"])),
        (run("fail"), (0.0, EVICT, False, ["diagnostic failed"])),
        (run("fail", checked("memory", "fail", 52)), (0.0, EVICT, True, [FAULTY])),
        (run("fail", checked("GPU Memory", "fail")), (0.0, EVICT, True, ["diagnostic failed"])),
        (
            run("fail", checked("memory", "fail", 56)),
            (0.7, MONITOR, False, ["diagnostic has warnings: GPU memory cannot be allocated"]),
        ),
        (
            run("fail", checked("pcie", "fail", 30)),
            (0.0, EVICT, False, ["diagnostic failed: bandwidth below the minimum"]),
        ),
        (
            run("fail", checked("software", "fail", 29)),
            (0.7, MONITOR, False, ["diagnostic has warnings: persistence mode is off"]),
        ),
        (
            run("fail", checked("software", "fail", 80)),
            (0.0, REPLACE, False, ["diagnostic failed: row remapping failed"]),
        ),
        (run("fail", checked("pcie", "fail", 101)), (0.0, EVICT, False, ["diagnostic failed: an Xid"])),
        (run("fail", checked("pulse", "fail", 900)), (0.0, EVICT, False, ["diagnostic failed: DCGM finding 900"])),
        (run("fail", checked("pcie", "fail", 30), checked("memory", "fail", 52)), (0.0, EVICT, True, [FAULTY])),
        (run("incomplete", checked("memory", "skip")), (1.0, NONE, False, [])),
        (run("never heard of"), (1.0, NONE, False, [])),
    ],
)
def test_a_result_is_judged_by_what_failed(told: records.Diagnostic, expected: Any) -> None:
    assert found(judge(ran(told))) == expected


@pytest.mark.parametrize(
    ("later", "score"),
    [
        (run("pass", level=2), 1.0),
        (run("pass", level=3), 1.0),
        (run("pass", level=1), 0.0),  # which looks at the software alone
        (run("warn", level=2), 0.7),
        (run("warn", level=1), 0.0),
        (run("incomplete", level=3), 0.0),
    ],
)
def test_a_failure_is_taken_back_by_no_lesser_diagnostic(later: records.Diagnostic, score: float) -> None:
    assert found(judge(ran(run("fail", checked("memory", "fail", 52)), later)))[0] == score


def test_another_failure_disproves_nothing() -> None:
    """It may have left tests out."""
    log = ran(run("fail", checked("memory", "fail", 52)), run("fail", checked("pcie", "fail", 30), level=3))
    assert found(judge(log))[:3] == (0.0, EVICT, True)
    assert found(judge(ran(run("fail", level=3), run("fail", level=1), run("pass", level=2))))[0] == 0.0


def test_a_lesser_diagnostic_can_make_it_worse() -> None:
    worse = run("pass", level=4), run("fail", level=1)
    assert found(judge(ran(*worse)))[0] == 0.0
    assert found(judge(ran(*worse, run("pass", level=1))))[0] == 1.0  # no more than it looked at was bad


def test_an_operator_puts_it_away() -> None:
    assert found(judge(ran(run("fail")).restore("n1", 20.0)))[0] == 1.0


def test_an_incomplete_one_is_shown_without_effect() -> None:
    (why,) = judge(ran(run("incomplete"))).conditions[-1].reasons
    assert (why.signal, why.cap) == ("diagnostic_incomplete", 1.0)
    assert why.text == "the newest diagnostic is incomplete: it proves nothing"
    assert judge(ran(run("incomplete"), run("pass"))).conditions[-1].reasons == []


@given(st.lists(st.builds(run, st.sampled_from(["warn", "fail", "incomplete"]), level=st.integers(0, 4)), max_size=6))
def test_without_a_better_result_the_score_stays_down(runs: list[records.Diagnostic]) -> None:
    """Nothing but a complete run of the level that failed raises it."""
    said = judge(ran(*runs))
    failed = [each.level for each in runs if each.result == "fail"]
    redeemed = [each.level for each in runs if each.result == "warn"]
    if failed and max(redeemed, default=-1) < max(failed):
        assert found(said)[0] == 0.0
