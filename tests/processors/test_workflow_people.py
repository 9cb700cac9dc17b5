"""The course of a case where people have their say: outputs that may be wrong, operators, brakes."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import records
from schemas.records import Revalidated
from schemas.states import Action
from tests.processors.cluster_stage import Stage
from tests.processors.workflow_stage import XID, fail, order, stage, to_probation

# --- outputs that may have been wrong -------------------------------------------------------------------------


def corrupted(release: str) -> Stage:
    at = stage(release=release)
    fail(at, corruption=True)
    to_probation(at)
    at.tick(at.ts + 300_000)
    return at


def checked(at: Stage, result: str, end: int = 1000) -> None:
    at.say(Revalidated(ts=at.ts, node="n1", uuid="G", detected=1000, end=end, result=result))


def test_an_operator_releases_what_may_have_been_wrong() -> None:
    at = corrupted("operator")
    assert at.stands("G") == ("probation", "an operator's proceed or restore: its outputs may have been wrong")
    checked(at, "clean")
    assert at.case("G").step == "probation"
    at.restore("G", action="proceed")
    assert at.states() == {"G": "in-service"}


def test_those_who_check_outputs_release_where_policy_says_so() -> None:
    at = corrupted("revalidation")
    checked(at, "clean", end=999)  # later evidence needs another answer
    checked(at, "unknown")
    assert at.case("G").step == "probation"
    checked(at, "clean")
    assert at.states() == {"G": "in-service"}


def test_wrong_outputs_are_for_an_operator_whenever_that_is_told() -> None:
    at = corrupted("revalidation")
    checked(at, "corrupt")
    assert at.stands("G") == ("quarantined", "an operator: its outputs were wrong")
    early = stage(release="diagnostic")
    fail(early, corruption=True)
    checked(early, "corrupt")
    to_probation(early)
    assert early.case("G").step == "quarantined"


def test_a_diagnostic_alone_releases_where_policy_says_so() -> None:
    assert corrupted("diagnostic").states() == {"G": "in-service"}


def test_the_word_of_its_own_diagnostic_does_not_cut_the_course_short() -> None:
    at = stage()
    fail(at, corruption=True)
    at.answer("G", "done")
    word = records.Operator(ts=at.ts, node="n1", action="restore", uuid="G", author="the policy")
    at.say(word)
    assert at.case("G").step == "diagnosing"
    at.answer("G", "done", "fail", detail="memory")
    assert at.stands("G") == ("rma", "its replacement: its diagnostic failed: memory")


def by_diagnostic(at: Stage) -> None:
    """A diagnostic has passed, and the node stage takes its word."""
    at.say(records.Operator(ts=at.ts, node="n1", action="restore", uuid="G", author="the policy", id="node-stage"))
    at.judge("G", 1.0)


@pytest.mark.parametrize(("release", "weight"), [("operator", 0.0), ("revalidation", 0.0), ("diagnostic", 1.0)])
def test_a_diagnostic_that_passes_late_is_not_the_last_word_where_somebody_else_has_it(
    release: str, weight: float
) -> None:
    at = stage(release=release)
    fail(at, corruption=True)
    at.answer("G", "done")
    at.tick(order(at).expires + 1_000_000)
    assert at.case("G").step == "quarantined", "no answer in time"
    by_diagnostic(at)
    assert at.weights() == {"G": weight}
    at.restore("G")
    at.judge("G", 1.0)
    assert at.weights() == {"G": 1.0}


@pytest.mark.parametrize(("wrong", "weight"), [(True, 0.0), (False, 1.0)])
def test_where_nothing_is_done_a_diagnostic_is_believed_unless_outputs_were_wrong(wrong: bool, weight: float) -> None:
    at = stage(enabled=False)
    fail(at, corruption=True)
    if wrong:
        checked(at, "corrupt")
    by_diagnostic(at)
    assert at.weights() == {"G": weight}


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("uuid", ["G", ""])
def test_what_may_have_been_wrong_is_not_mended_by_another_slot(uuid: str, restarts: bool) -> None:
    """uuid: whether the GPU is named by it at once where it stands now."""
    at = stage(release="diagnostic")
    at.judge("G", 0.0, bdf="1", corruption=True, reasons=[XID], evidence=at.ts)
    at.judge("H", 1.0, bdf="2")
    checked(at, "corrupt")
    at.gone("G", "1")
    assert "G" not in at.decisions
    if restarts:
        at.restart()
    at.judge("H", 1.0, bdf="1")
    at.gone("H", "2")
    at.judge(uuid, 1.0, bdf="2", node="n1")
    at.judge("G", 1.0, bdf="2", node="n1")
    assert at.weights() == {"G": 0.0, "H": 1.0}
    assert at.case("G").cause == "put in another slot: Xid 48"
    at.tick(at.ts + 30_000)
    to_probation(at)
    assert at.stands("G") == ("quarantined", "an operator: its outputs were wrong")
    at.restore("G")
    at.gone("G", "2")
    at.judge("G", 1.0, bdf="3")
    assert at.weights() == {"G": 1.0, "H": 1.0}, "an operator has vouched for it"


def test_another_slot_neither_cools_a_gpu_down_nor_counts_as_a_first_attempt() -> None:
    at = stage(attempts_max=1)
    fail(at, bdf="1")
    at.answer("G", "failed")
    at.gone("G", "1")
    at.restart()
    at.judge("G", 1.0, bdf="2")
    assert at.weights()["G"] == 1.0, "a fault that was not its outputs' has to show again"
    fail(at, bdf="2")
    assert at.case("G").waits == "its replacement: tried 1 time within 7 days, and xid_48 came back"


def test_an_order_that_may_still_be_done_is_waited_for_by_a_gpu_that_has_left_and_is_back() -> None:
    at = stage()
    fail(at, bdf="1")
    due_ms = at.case("G").deadline
    at.gone("G", "1")
    at.judge("G", 1.0, bdf="1")
    fail(at, bdf="1")
    assert at.stands("G") == ("drained", "the answer to an order that was cancelled: it may be done all the same")
    assert at.case("G").deadline == due_ms


def test_a_gpu_that_was_to_be_replaced_takes_no_other_node_with_it() -> None:
    at = stage()
    at.judge("G", 0.0, bdf="1", corruption=True, hard=True, action=Action.REMOVE_NODE, evidence=at.ts)
    at.gone("G", "1")
    at.judge("K", 1.0, bdf="1", node="n2")
    at.judge("G", 1.0, bdf="2", node="n2")
    assert at.weights() == {"G": 0.0, "K": 1.0}


# --- operators ------------------------------------------------------------------------------------------------


def test_who_is_quarantined_goes_on_by_a_word() -> None:
    at = stage(cool_down_s=0)
    fail(at)
    at.answer("G", "dry-run")
    at.restore("G", action="proceed")
    assert (at.case("G").step, order(at).action) == ("resetting", "reset")


def test_a_word_on_a_node_is_on_all_its_gpus() -> None:
    at = stage(acknowledged=True)
    for uuid in "GH":
        at.judge(uuid, 0.0, hard=True, evidence=at.ts)
    at.tick(100_000)
    assert [at.case(uuid).step for uuid in "GH"] == ["removing", "removing"]
    at.restore(action="proceed")
    assert [at.case(uuid).step for uuid in "GH"] == ["resetting", "resetting"]
    at.restore(action="proceed", node="nowhere")
    assert "no GPU of node 'nowhere' is known" in at.dead[-1].why


def test_a_reboot_is_seen_whatever_the_clock_of_the_node_says_after_it() -> None:
    at = stage()
    fail(at, action=Action.REMOVE_NODE)
    assert at.stands("G") == ("resetting", "n1 has to be rebooted")
    at.say(records.Inventory(ts=1, node="n1", gpus=[records.GpuInfo(uuid="G")], boot="boot-2"))
    assert (at.case("G").step, order(at).boot) == ("diagnosing", "boot-2")


# --- brakes ------------------------------------------------------------------------------------------------


def say(at: Stage, action: str, **word: Any) -> None:
    word = {"node": "", "until": at.ts + 3_600_000, "author": "ann", "id": f"{action}{at.ts}", **word}
    at.feed("operator", records.encode(records.Operator(ts=at.ts, action=action, **word)))


def test_one_gpu_of_a_node_is_reset_at_a_time_unless_the_policy_says_otherwise() -> None:
    at = Stage(gpus_out_max=None, workflow={"enabled": True})
    at.inventory("boot-1", "G", "H")
    for uuid in "GH":
        at.judge(uuid, 0.0, hard=True, reasons=[XID], evidence=at.ts)
    at.tick(at.ts + 30_000)
    assert at.stands("G")[0] == "resetting"
    assert at.stands("H") == ("drained", "budget:node n1: at most 1 GPU of it may be in such a step")
    at.gone("G", "")
    assert at.stands("H")[0] == "resetting", "room goes to who waits"


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_node_that_waits_for_its_reboot_keeps_no_other_gpu_from_its_reset(acknowledged: bool) -> None:
    """Perhaps for days; and its own GPUs go with it, whatever the budget and the time."""
    flow = {"enabled": True, "acknowledged": acknowledged}
    steps = {"gpus_max": 1, "windows": ["thu 00:00-00:02"]}
    at = Stage(gpus_out_max=None, steps=steps, workflow=flow)
    at.inventory("boot-1", *"ABC")
    at.inventory("boot-1", "G", node="n2")
    for uuid in "ABC":
        at.judge(uuid, 1.0)
    at.judge("A", 0.0, hard=True, action=Action.REMOVE_NODE, evidence=at.ts)
    at.judge("G", 0.0, hard=True, reasons=[XID], evidence=at.ts, node="n2")
    for _ in range(8):
        at.tick(at.ts + 10_000)
        for uuid, node in {"A": "n1", "B": "n1", "C": "n1", "G": "n2"}.items():
            if acknowledged and at.case(uuid).step != "resetting":
                at.serving(uuid, "removed", 0, node=node)
    assert {uuid: at.stands(uuid) for uuid in "ABC"} == dict.fromkeys("ABC", ("resetting", "n1 has to be rebooted"))
    assert (at.case("G").step, order(at).action) == ("resetting", "reset")


def test_a_hold_takes_back_what_has_not_begun_and_lets_it_go_on_when_it_ends() -> None:
    at = stage()
    fail(at)
    first = order(at)
    say(at, "hold", note="wait")
    assert (at.case("G").order, at.case("G").cancel) == (None, first.id)
    at.tick(first.expires + 1_000_000)
    assert at.stands("G") == ("resetting", "hold:cluster, by ann: wait")
    say(at, "release")
    assert order(at).id != first.id


def test_a_hold_is_on_diagnostics_as_well() -> None:
    at = stage()
    fail(at)
    say(at, "hold", until=at.ts + 4_000_000)
    at.tick(at.ts + 2_000_000)
    assert at.stands("G") == ("resetting", "hold:cluster, by ann")
    say(at, "release")
    at.answer("G", "started")
    say(at, "hold", until=at.ts + 4_000_000)
    at.answer("G", "done")
    assert at.stands("G") == ("diagnosing", "hold:cluster, by ann")
    say(at, "release", id="again")
    assert order(at).action == "diagnose"


def test_a_diagnostic_that_a_hold_has_taken_back_is_not_ordered_again_under_it() -> None:
    at = stage()
    fail(at)
    at.answer("G", "done")
    first = order(at)
    say(at, "hold", until=at.ts + 4_000_000)
    assert (at.case("G").order, at.case("G").cancel) == (None, first.id)
    at.tick(at.ts + 2_000_000)
    assert at.stands("G") == ("diagnosing", "hold:cluster, by ann")


def test_a_window_of_work_opens_by_itself() -> None:
    at = Stage(gpus_out_max=None, steps={"windows": ["thu 00:10-00:20"]}, workflow={"enabled": True})
    at.inventory("boot-1", "G")
    fail(at)
    assert at.stands("G") == ("drained", "window: such steps begin thu 00:10-00:20 UTC")
    at.tick(600_000)
    assert at.stands("G")[0] == "resetting"


def test_who_has_to_go_on_with_a_case_is_said_when_it_opens() -> None:
    for enabled in (False, True):
        at = stage(enabled=enabled)
        at.judge("G", 0.0, hard=True)
        assert at.case("G").by_hand is not enabled


def test_what_an_operator_has_drained_is_not_reset() -> None:
    at = stage()
    say(at, "drain", node="n1", uuid="G")
    at.tick(at.ts + 40_000)
    assert at.stands("G") == ("drained", "the end of planned work")
    say(at, "undrain", node="n1", uuid="G")
    assert at.stands("G")[0] == "in-service"
