"""The course of a case where people have their say: outputs that may be wrong, operators, brakes."""

from __future__ import annotations

from typing import Any

from schemas import records
from schemas.records import Revalidated
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
