"""Each move of the table of cases, by the shortest history that makes it; and no move that none makes."""

from __future__ import annotations

from typing import Any

import pytest

from processors.case import (
    Admitted,
    Answered,
    Case,
    Deadline,
    Event,
    Failed,
    Left,
    Proceed,
    Rebooted,
    Recovered,
    Restored,
    Traffic,
    Validated,
)
from processors.case_table import TABLE, advance
from processors.cluster_policy import Policy, WorkflowPolicy
from schemas.records import CommandResult
from schemas.states import Action, Step

IN_SERVICE, DRAINING, FORCING, DRAINED, REMOVING, RESETTING, DIAGNOSING, PROBATION, QUARANTINED, RMA = Step


class Answer:
    """To the order that is outstanding by then."""

    def __init__(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason


def failed(at_ms: int = 1000, **more: Any) -> Failed:
    return Failed("G", at_ms, **{"action": Action.EVICT, "cause": "Xid 48", "fault": "xid_48", "hard": True, **more})


def says(state: str, in_flight: int | None = 0) -> Traffic:
    return Traffic("G", 2000, state=state, in_flight=in_flight, scheduler="s")


SOFT, HARD, HOT = failed(hard=False), failed(), failed(fault="temperature", hard=False)
CORRUPT = failed(corruption=True)
FOR_GOOD = failed(action=Action.EVICT_PERMANENTLY)
NODE, BESIDE = failed(action=Action.REMOVE_NODE), failed(action=Action.REMOVE_NODE, bystander=True)
PLANNED = failed(hard=False, fault="maintenance", action=Action.DRAIN)
LATER = failed(900_000)
LATE = failed(31_000, action=Action.EVICT_PERMANENTLY)
DEADLINE, RECOVERED, RESTORED, LEFT = (kind("G", 31_000) for kind in (Deadline, Recovered, Restored, Left))
REBOOTED, PROCEED = Rebooted("G", 31_000), Proceed("G", 31_000)
GO = Admitted("G", 31_000, node="n1", boot="b", sequence=7)
CLEAN, WRONG = (Validated("G", 31_000, result=result, end=31_000) for result in ("clean", "corrupt"))
DONE, PASS, FAIL, WARN = Answer("done"), Answer("done", "pass"), Answer("done", "fail"), Answer("done", "warn")
REFUSED, MALFORMED, BROKEN = Answer("refused", "busy"), Answer("refused", "malformed"), Answer("failed", "tool")
ALONE = Policy(workflow=WorkflowPolicy(enabled=True))
ASKED = Policy(workflow=WorkflowPolicy(enabled=True, acknowledged=True))
NEVER = Policy(workflow=WorkflowPolicy(enabled=True, attempts_max=0))

DRAIN = (HARD, DEADLINE)
REMOVE = (HARD, DEADLINE, DEADLINE, GO)  # with a scheduler that answers
RESET = (*DRAIN, GO, GO)
DIAGNOSE = (*RESET, DONE, GO)
WATCH = (*DIAGNOSE, PASS)
MOVES: list[tuple[Policy, tuple[Event | Answer, ...], Step]] = [
    (ALONE, (HARD,), DRAINING),
    (ALONE, (SOFT, RECOVERED), IN_SERVICE),
    (ALONE, DRAIN, DRAINED),
    (ASKED, DRAIN, FORCING),
    (ASKED, (HARD, says("drained")), DRAINED),
    (ASKED, (SOFT, DEADLINE, RECOVERED), IN_SERVICE),
    (ASKED, (*DRAIN, DEADLINE), DRAINED),
    (ASKED, (*DRAIN, says("drained")), DRAINED),
    (ALONE, (PLANNED, DEADLINE, RECOVERED), IN_SERVICE),
    (ALONE, (*DRAIN, RECOVERED), DRAINED),
    # through the second gate
    (ASKED, REMOVE, REMOVING),
    (ALONE, (*DRAIN, GO), RESETTING),
    (ALONE, (HOT, DEADLINE, GO), DIAGNOSING),
    (ALONE, (NODE, DEADLINE, GO), RESETTING),
    (ALONE, (BESIDE, DEADLINE, REBOOTED, GO), PROBATION),
    (ALONE, (FOR_GOOD, DEADLINE, GO), RMA),
    (NEVER, (*DRAIN, GO), RMA),
    (NEVER, (SOFT, DEADLINE, GO), QUARANTINED),
    # removed
    (ASKED, (*REMOVE, says("removed")), RESETTING),
    (ASKED, (*REMOVE, says("removed", None)), RESETTING),
    (ASKED, (*REMOVE, says("removed", 2)), REMOVING),
    (ASKED, (HOT, DEADLINE, DEADLINE, GO, says("removed")), DIAGNOSING),
    (ASKED, (BESIDE, DEADLINE, DEADLINE, GO, REBOOTED, says("removed")), PROBATION),
    (ASKED, (FOR_GOOD, DEADLINE, DEADLINE, GO, says("removed")), RMA),
    (ASKED, (*REMOVE, PROCEED), RESETTING),
    (ASKED, (HOT, DEADLINE, DEADLINE, GO, PROCEED), DIAGNOSING),
    (ASKED, (BESIDE, DEADLINE, DEADLINE, GO, REBOOTED, PROCEED), PROBATION),
    (ASKED, (FOR_GOOD, DEADLINE, DEADLINE, GO, PROCEED), RMA),
    # reset
    (ALONE, (*RESET, DEADLINE), QUARANTINED),
    (ALONE, (*DRAIN, GO, FOR_GOOD, GO), RMA),
    (ALONE, (*RESET, DONE), DIAGNOSING),
    (ALONE, (*RESET, REFUSED), RESETTING),
    (ALONE, (*RESET, MALFORMED), QUARANTINED),
    (ALONE, (*RESET, BROKEN), RMA),
    (ALONE, (*RESET, NODE, BROKEN), RESETTING),  # it has to be rebooted now
    (ALONE, (*RESET, REBOOTED), DIAGNOSING),
    (ALONE, (BESIDE, DEADLINE, GO, REBOOTED), PROBATION),
    (ALONE, (*RESET, FOR_GOOD, REBOOTED), RMA),
    (ALONE, (NODE, DEADLINE, GO, PROCEED), DIAGNOSING),
    (ALONE, (NODE, DEADLINE, GO, FOR_GOOD, PROCEED), RMA),
    # diagnosed
    (ALONE, (*DIAGNOSE, DEADLINE), QUARANTINED),
    (ALONE, (*DIAGNOSE, PASS), PROBATION),
    (ALONE, (*DIAGNOSE, FAIL), RMA),
    (ALONE, (*DIAGNOSE, WARN), QUARANTINED),
    (ALONE, (*DIAGNOSE, BROKEN), QUARANTINED),
    (ALONE, (*DIAGNOSE, NODE, PASS), RESETTING),
    (ALONE, (*DIAGNOSE, REBOOTED), DIAGNOSING),
    # watched
    (ALONE, (*WATCH, LATER), DRAINED),
    (ALONE, (*WATCH, HARD), PROBATION),
    (ALONE, (*WATCH, RECOVERED), PROBATION),
    (ALONE, (*WATCH, DEADLINE, RECOVERED), IN_SERVICE),
    (ALONE, (*WATCH, LATE, DEADLINE, RECOVERED), RMA),
    (ALONE, (CORRUPT, *WATCH[1:], WRONG), QUARANTINED),
    (ALONE, (CORRUPT, *WATCH[1:], CLEAN, DEADLINE, RECOVERED), PROBATION),  # policy asks an operator
    (ALONE, (CORRUPT, *WATCH[1:], PROCEED, DEADLINE, RECOVERED), IN_SERVICE),
    # the end of what we can do
    (ALONE, (*RESET, MALFORMED, PROCEED), DRAINED),
    (ALONE, (*RESET, BROKEN, PROCEED), RMA),
]
AT_EACH = {
    DRAINING: (HARD,),
    FORCING: DRAIN,
    DRAINED: (*DRAIN, DEADLINE),
    REMOVING: REMOVE,
    RESETTING: RESET,
    DIAGNOSING: DIAGNOSE,
    PROBATION: WATCH,
    QUARANTINED: (*RESET, MALFORMED),
    RMA: (*RESET, BROKEN),
}
for step, history in AT_EACH.items():
    under = ASKED if step in (FORCING, REMOVING) else ALONE
    MOVES += [(under, (*history, ends), IN_SERVICE) for ends in (RESTORED, LEFT)]


def lived(policy: Policy, history: tuple[Event | Answer, ...]) -> tuple[Case, Case, Event]:
    """The case before its last event, and after it."""
    before = after = Case(gpu="G")
    event: Event = RECOVERED
    for said in history:
        before = after
        if isinstance(said, Answer):
            assert before.order is not None
            says = {"state": said.state, "reason": said.reason, "action": before.order.action}
            event = Answered("G", 31_000, result=CommandResult(ts=31_000, node="n1", id=before.order.id, **says))
        else:
            event = said
        after, _ = advance(before, event, policy)
    return before, after, event


@pytest.mark.parametrize(("policy", "history", "step"), MOVES)
def test_where_a_history_leads(policy: Policy, history: tuple[Event | Answer, ...], step: Step) -> None:
    before, after, _ = lived(policy, history)
    assert after.step is step
    if before.order is not None and not after.open:
        assert after.cancel == before.order.id


def test_no_move_stands_in_the_table_that_nothing_makes() -> None:
    made = set()
    for policy, history, _ in MOVES:
        before, after, event = lived(policy, history)
        made.add((before.step, type(event).__name__, after.step))
    table = {
        (at, event.__name__, to)
        for at, row in TABLE.items()
        for event, (_, targets) in row.items()
        for to in targets - {at}
    }
    assert table - made == set()
