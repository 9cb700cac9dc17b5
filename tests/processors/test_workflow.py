"""The course of a case beyond its drain, by example: removed, reset, diagnosed, watched, put back; or why not."""

from __future__ import annotations

import pytest

from schemas import records
from schemas.states import Action
from tests.processors.cluster_stage import HOT, Stage
from tests.processors.workflow_stage import RUN, XID, fail, order, stage, to_probation

# --- all goes well --------------------------------------------------------------------------------------------


def test_a_gpu_is_reset_diagnosed_watched_and_put_back() -> None:
    at = stage()
    fail(at)
    given = order(at)
    assert at.stands("G") == ("resetting", "")
    assert (given.action, given.boot, given.sequence, given.expires) == ("reset", "boot-1", 31_000, 631_000)
    at.answer("G", "started")
    assert at.case("G").deadline == 31_000 + 60_000 + 120_000
    at.answer("G", "done")
    diagnose = order(at)
    assert (at.case("G").step, diagnose.action, diagnose.level) == ("diagnosing", "diagnose", 2)
    assert diagnose.sequence == 31_001  # above the one before, though no time has passed
    assert diagnose.id != given.id
    at.answer("G", "done", "pass", started=31_000)
    assert (at.case("G").step, at.case("G").deadline, at.case("G").attempts) == ("probation", 331_000, 1)
    at.judge("G", 1.0)
    assert at.weights() == {"G": 0.0}
    at.tick(330_999)
    assert at.case("G").step == "probation"
    at.tick(331_000)
    assert (at.states(), at.weights()) == ({"G": "in-service"}, {"G": 1.0})
    assert at.case("G").detail == "mended"


def test_that_it_has_not_been_better_for_long_enough_is_no_new_evidence() -> None:
    at = stage()
    fail(at)
    to_probation(at)
    at.ts += 1
    at.judge("G", 0.0, score=1.0, evidence=at.ts, reasons=[])  # its agent was started anew, say
    assert at.case("G").step == "probation"
    at.tick(400_000)
    assert at.stands("G") == ("probation", "a judgement that finds it fit")
    at.judge("G", 1.0)
    assert at.states() == {"G": "in-service"}


def test_a_scheduler_that_answers_is_waited_for() -> None:
    at = stage(acknowledged=True)
    at.judge("G", 0.0, hard=True)
    at.serving("G", "drained", 4)
    assert (at.case("G").step, at.case("G").in_flight) == ("draining", 4)
    at.tick(31_000)
    assert at.case("G").step == "forcing"
    at.serving("G", "drained", 0)
    assert at.stands("G") == ("removing", "the scheduler to remove it")
    at.tick(9_000_000)
    assert at.case("G").order is None
    at.serving("G", "drained", 0)
    assert at.stands("G") == ("removing", "the scheduler to remove it; slurm says drained, 0 in flight")
    at.serving("G", "removed", 1)
    assert at.case("G").step == "removing"
    at.serving("G", "removed", 0)
    assert (at.case("G").step, order(at).action) == ("resetting", "reset")


def test_what_a_scheduler_says_of_another_case_is_for_nobody() -> None:
    at = stage(acknowledged=True)
    at.judge("G", 0.0, hard=True)
    old = at.case("G").opened
    at.restore("G")
    at.ts += 5
    at.judge("G", 0.0, hard=True)
    at.say(records.Serving(ts=at.ts, node="n1", uuid="G", scheduler="s", state="drained", in_flight=0, case=old))
    assert at.case("G").step == "draining"


def test_where_a_reset_is_pointless_the_diagnostic_follows_at_once() -> None:
    at = stage()
    fail(at, hard=False, reasons=[HOT])
    assert (at.case("G").step, order(at).action) == ("diagnosing", "diagnose")


# --- what is answered -----------------------------------------------------------------------------------------

ANSWERS = [
    ("failed", "tool", "rma", "its replacement: its reset failed: tool: exit status 15"),
    ("indeterminate", "", "quarantined", "an operator: look at it before it is said again: exit status 15"),
    ("dry-run", "", "quarantined", "an operator: the agent of n1 is in dry run: exit status 15"),
    ("cancelled", "", "quarantined", "an operator: somebody cancelled its order: exit status 15"),
    ("refused", "malformed", "quarantined", "an operator: its node refuses, after 1 try: malformed: exit status 15"),
    ("refused", "busy", "resetting", "another try of its order: busy: exit status 15"),
]


@pytest.mark.parametrize(("state", "reason", "step", "waits"), ANSWERS)
def test_what_becomes_of_a_reset_that_was_not_done(state: str, reason: str, step: str, waits: str) -> None:
    at = stage()
    fail(at)
    at.answer("G", state, reason, detail="exit status 15")
    assert at.stands("G") == (step, waits)
    assert at.case("G").order is None


@pytest.mark.parametrize(
    ("state", "reason", "step"),
    [
        ("done", "pass", "probation"),
        ("done", "fail", "rma"),
        ("done", "warn", "quarantined"),
        ("done", "incomplete", "quarantined"),
        ("done", "", "quarantined"),
        ("failed", "deadline", "quarantined"),
    ],
)
def test_what_becomes_of_a_diagnostic(state: str, reason: str, step: str) -> None:
    at = stage()
    fail(at)
    at.answer("G", "done")
    at.answer("G", state, reason, **RUN)
    assert at.case("G").step == step


@pytest.mark.parametrize("reason", ["signature", "key", "node", "repeated"])
def test_refusals_that_anybody_can_bring_about_prove_nothing(reason: str) -> None:
    at = stage()
    fail(at)
    given = order(at)
    assert at.answer("G", "refused", reason) == []
    assert order(at) == given


def test_an_order_that_could_not_be_done_is_given_again_and_not_for_ever() -> None:
    at = stage()
    fail(at)
    ids = []
    for _ in range(3):
        ids.append(order(at).id)
        at.answer("G", "refused", "busy", detail="pid 7")
        at.tick(at.ts + 899_999)
        assert at.case("G").order is None
        at.tick(at.ts + 1)
    assert len(set(ids)) == 3
    assert at.stands("G") == ("quarantined", "an operator: its node refuses, after 3 tries: busy: pid 7")
    assert at.case("G").attempts == 0


def test_who_does_not_answer_leaves_it_open_whether_it_was_done() -> None:
    at = stage()
    fail(at)
    given = order(at)
    at.tick(31_000 + 600_000 + 60_000 + 120_000)
    assert at.stands("G") == ("quarantined", "an operator: no answer to reset of n1: whether it was done is not known")
    assert at.case("G").cancel == given.id
    at.answer("G", "done", order=given)
    assert (at.case("G").step, at.case("G").order) == ("quarantined", None)
    assert at.case("G").detail == "the cancelled order was answered: done: the GPU was reset all the same"


def test_what_has_begun_was_not_refused() -> None:
    at = stage()
    fail(at)
    at.answer("G", "started")
    assert at.answer("G", "refused", "busy") == []
    assert at.case("G").step == "resetting"


@pytest.mark.parametrize(("node", "uuid"), [("n2", "G"), ("n1", "H")])
def test_an_answer_of_another_node_or_gpu_is_none(node: str, uuid: str) -> None:
    at = stage()
    fail(at)
    given = order(at)
    result = records.CommandResult(ts=at.ts, node=node, id=given.id, action="reset", state="done", uuid=uuid)
    assert at.say(result) == []
    assert at.case("G").step == "resetting"


# --- taken back -----------------------------------------------------------------------------------------------


def test_a_restore_takes_the_order_back_and_a_later_answer_changes_nothing() -> None:
    at = stage()
    fail(at)
    given = order(at)
    at.restore("G")
    assert (at.case("G").step, at.case("G").order, at.case("G").cancel) == ("in-service", None, given.id)
    at.judge("G", 1.0)
    at.answer("G", "done", order=given)
    assert at.states() == {"G": "in-service"}
    assert "reset all the same" in at.case("G").detail


def test_the_next_order_to_a_node_comes_behind_what_cancels_the_one_before() -> None:
    """The commander's sequence for that is the next one, or the time: nodes refuse what is not above it."""
    at = stage()
    at.judge("H", 1.0)
    fail(at)
    at.judge("H", 0.0, hard=True, reasons=[XID], evidence=at.ts)
    at.tick(at.ts + 30_000)
    given = order(at)
    at.restore("G")
    assert order(at, "H").sequence > max(at.case("G").ts, given.sequence) + 1


def test_a_node_is_given_one_order_at_a_time() -> None:
    """Its agent does one after the other, and an order that waits for long expires."""
    at = stage()
    for uuid in ("G", "H"):
        at.judge(uuid, 0.0, hard=True, reasons=[XID], evidence=at.ts)
    at.tick(at.ts + 30_000)
    told = []
    while outstanding := [uuid for uuid in ("G", "H") if at.case(uuid).order]:
        (uuid,) = outstanding
        (other,) = {"G", "H"} - {uuid}
        told.append((uuid, order(at, uuid).action))
        if at.case(other).step != "probation":
            assert at.case(other).waits == "n1: it has the order for another GPU, and carries out one at a time"
        at.restart()
        at.ts += 300_000
        at.answer(uuid, "done", *["pass"] * (told[-1][1] == "diagnose"), started=at.ts)
    assert sorted(told) == [("G", "diagnose"), ("G", "reset"), ("H", "diagnose"), ("H", "reset")]
    assert {at.case(uuid).step for uuid in ("G", "H")} == {"probation"}


def test_no_order_is_given_while_a_cancelled_one_may_still_be_done() -> None:
    at = stage(no_reset=[])
    fail(at)
    given = order(at)
    at.restore("G")
    fail(at)
    waits = "the answer to an order that was cancelled: it may be done all the same"
    assert at.stands("G") == ("drained", waits)
    assert at.case("G").cancel == given.id
    at.answer("G", "cancelled", order=given)
    assert (at.case("G").step, at.case("G").cancel) == ("resetting", "")
    assert order(at).id != given.id


def test_what_a_node_never_heard_of_is_in_no_doubt_once_it_has_heard_what_cancels_it() -> None:
    at = stage(no_reset=[])
    fail(at)
    given = order(at)
    at.restore("G")
    fail(at)

    def told(sequence: int, reason: str = "unknown", of: str = f"{given.id}.cancel") -> str:
        at.say(
            records.CommandResult(
                ts=at.ts, node="n1", uuid="G", id=of, action="cancel", state="refused", reason=reason, sequence=sequence
            )
        )
        return str(at.case("G").step)

    assert told(given.sequence) == "drained"  # the order may still come, and be newer
    assert told(given.sequence + 1, "late") == "drained"
    assert told(given.sequence + 1, of="other.cancel") == "drained"
    assert told(given.sequence + 1) == "resetting"
    assert at.case("G").cancel == ""


def test_a_cancelled_reset_that_was_done_counts_for_the_cool_down() -> None:
    at = stage()
    fail(at)
    given = order(at)
    at.restore("G")
    fail(at)
    at.answer("G", "done", order=given)
    assert at.stands("G") == ("drained", "its cool-down after the last reset")
    at.tick(at.ts + 900_000)
    assert at.case("G").step == "resetting"


def test_actions_that_are_disabled_take_back_what_has_not_begun() -> None:
    at = stage()
    at.inventory("boot-2", "H", node="n2")
    fail(at)
    at.judge("H", 0.0, hard=True, evidence=at.ts, node="n2")
    at.tick(at.ts + 30_000)
    at.answer("H", "started", node="n2")
    at.policy("off", ts=2, gpus_out_max=None)
    assert at.stands("G") == ("resetting", "actions are not enabled: a reset would follow")
    assert at.case("G").cancel
    assert at.case("H").order is not None  # it has begun


# --- brakes of its own ----------------------------------------------------------------------------------------


def test_cool_down_and_attempts() -> None:
    at = stage(attempts_max=2)
    for number in (1, 2):
        fail(at)
        if number == 2:
            assert at.stands("G") == ("drained", "its cool-down after the last reset")
            at.tick(at.ts + 900_000)
        at.answer("G", "started")
        to_probation(at)
        at.tick(at.ts + 300_000)
        assert (at.states(), at.case("G").attempts) == ({"G": "in-service"}, number)
    fail(at)
    assert at.stands("G") == ("rma", "its replacement: tried 2 times within 7 days, and xid_48 came back")
    at.restore("G")
    at.judge("G", 1.0)
    at.tick(at.ts + 8 * 86_400_000)
    fail(at)
    assert at.case("G").step == "resetting"  # that was another week


def test_other_faults_and_soft_ones_count_otherwise() -> None:
    at = stage(attempts_max=1, cool_down_s=0)
    fail(at, reasons=[HOT], hard=False)
    at.answer("G", "done", "pass")
    at.judge("G", 1.0)
    at.tick(at.ts + 300_000)
    fail(at)
    assert at.case("G").step == "resetting"
    to_probation(at)
    at.tick(at.ts + 300_000)
    fail(at, reasons=[HOT], hard=False)
    assert at.stands("G")[0] == "quarantined"


@pytest.mark.parametrize("word", ["proceed", "evidence", "corruption"])
def test_old_evidence_opens_a_case_and_takes_nobody_off_a_node(word: str) -> None:
    at = stage()
    at.tick(100_000)
    fail(at, evidence=39_999)
    assert at.weights()["G"] == 0.0
    assert at.stands("G")[0] == "drained"
    assert at.stands("G")[1].startswith("evidence of the last minute")
    if word == "proceed":
        at.restore("G", action="proceed")
    else:
        at.judge("G", 0.0, hard=True, evidence=at.ts if word == "evidence" else 1, corruption=word == "corruption")
    assert at.case("G").step == "resetting"


def test_new_evidence_in_probation_is_another_attempt() -> None:
    at = stage(cool_down_s=0)
    fail(at)
    first = order(at)
    to_probation(at)
    at.judge("G", 0.0, hard=True, reasons=[XID], evidence=1000)  # from before the diagnostic
    assert at.case("G").step == "probation"
    at.ts += 1000
    at.judge("G", 0.0, hard=True, reasons=[XID], evidence=at.ts)
    assert (at.case("G").step, order(at).action, at.case("G").attempts) == ("resetting", "reset", 1)
    assert order(at).id != first.id


def test_unknown_or_failed_at_its_end_probation_goes_on() -> None:
    at = stage()
    fail(at)
    at.answer("G", "done")
    at.answer("G", "done", "pass", started=at.ts)
    at.judge("G", None)
    at.tick(at.ts + 300_000)
    assert at.stands("G") == ("probation", "a judgement that finds it fit")
    at.judge("G", 0.9)
    assert at.states() == {"G": "in-service"}


# --- what a reset does not mend -------------------------------------------------------------------------------


def test_a_replacement_is_not_reset() -> None:
    at = stage()
    fail(at, action=Action.EVICT_PERMANENTLY)
    assert at.stands("G") == ("rma", "its replacement: its fault asks for a replacement")


def test_a_case_that_gets_worse_meanwhile_ends_in_a_replacement() -> None:
    at = stage()
    fail(at)
    at.judge("G", 0.0, hard=True, action=Action.EVICT_PERMANENTLY, evidence=at.ts)
    assert at.case("G").step == "resetting"
    at.answer("G", "done")
    assert at.case("G").step == "rma"


def test_a_node_that_goes_waits_for_its_reboot_and_who_stands_beside_is_only_watched() -> None:
    at = stage()
    at.judge("H", 1.0)
    fail(at, action=Action.REMOVE_NODE)
    assert at.stands("G") == ("resetting", "n1 has to be rebooted")
    assert at.stands("H") == ("resetting", "n1 has to be rebooted")
    at.tick(9_000_000)
    assert [at.case(uuid).order for uuid in "GH"] == [None, None]
    at.inventory("boot-1", "G", "H")
    assert at.case("G").step == "resetting"
    at.inventory("boot-2", "G", "H")
    assert (at.case("G").step, order(at).boot) == ("diagnosing", "boot-2")
    assert at.case("H").step == "probation"


def test_a_gpu_that_cannot_be_reset_alone_waits_for_its_node() -> None:
    at = stage()
    at.inventory("boot-1", "G", "H", model="Tesla V100-SXM2-32GB", peers={"H": 2})
    fail(at)
    assert at.stands("G") == ("resetting", "n1 has to be rebooted (it cannot be reset without its NVLink peers)")
    at.restore("G", action="proceed")
    assert order(at).action == "diagnose"


def test_a_reboot_ends_what_was_ordered_before() -> None:
    at = stage()
    fail(at)
    given = order(at)
    at.inventory("boot-2", "G", "H")
    assert (at.case("G").step, at.case("G").cancel) == ("diagnosing", given.id)
    first = order(at)
    at.inventory("boot-3", "G", "H")
    assert (at.case("G").step, order(at).boot, at.case("G").cancel) == ("diagnosing", "boot-3", first.id)


def test_nothing_is_ordered_before_the_boot_is_known() -> None:
    at = Stage(gpus_out_max=None, workflow={"enabled": True})
    fail(at)
    assert at.stands("G") == ("resetting", "the inventory of n1: its boot is not known")
    at.inventory("boot-1", "G")
    assert order(at).boot == "boot-1"


def test_after_an_hour_of_silence_an_order_is_of_now() -> None:
    """Nobody could have taken up one of then."""
    at = stage()
    at.judge("G", 0.0, hard=True, reasons=[XID], evidence=at.ts)
    at.tick(at.ts + 3_600_000)
    assert at.stands("G")[0] == "resetting"
    assert order(at).expires > at.ts
    assert at.case("G").ts == at.ts


def test_after_an_hour_of_silence_a_window_of_work_that_has_closed_lets_nobody_through() -> None:
    at = Stage(gpus_out_max=None, steps={"windows": ["thu 00:00-00:30"]}, workflow={"enabled": True})
    at.inventory("boot-1", "G")
    at.judge("G", 0.0, hard=True, reasons=[XID], evidence=at.ts)
    at.tick(at.ts + 3_600_000)
    assert at.stands("G") == ("drained", "window: such steps begin thu 00:00-00:30 UTC")
