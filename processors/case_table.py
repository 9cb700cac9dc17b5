"""One complete table of what may follow what in a case.

Three kinds of wrong are kept apart. A bad record never gets here. A stray event (late, doubled) is a cell of
the table: reported, no change. A broken invariant is our bug: an AssertionError out of `advance`, which has
touched nothing; the caller quarantines that one case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processors import case_answers as answers
from processors import case_recovery as recovery
from processors import case_steps as steps
from processors.case import (
    Admitted,
    Announce,
    Answered,
    Case,
    Deadline,
    Event,
    Failed,
    Held,
    Left,
    Moved,
    Proceed,
    Rebooted,
    Recovered,
    Restored,
    Traffic,
    Validated,
    harsher,
)
from processors.cluster_policy import Policy
from schemas.states import Action, Step

IN_SERVICE, DRAINING, FORCING, DRAINED, REMOVING, RESETTING, DIAGNOSING, PROBATION, QUARANTINED, RMA = Step
Cell = tuple[Callable[[Case, Any, Policy], Moved], frozenset[Step]]
Row = dict[type[Event], Cell]


def to(step: Callable[[Case, Any, Policy], Moved], *targets: Step) -> Cell:
    return step, frozenset(targets)


# --- the table: (what is done, where it may lead) ---------------------------------------------------------

STAY = to(steps.stay)
STRAY = to(steps.stray)
END = to(steps.restore, IN_SERVICE)
LEAVE = to(steps.leave, IN_SERVICE)
MENDED = (RESETTING, DIAGNOSING, PROBATION, RMA)  # where removal, reset and diagnostic may lead
EVENTS: tuple[type[Event], ...] = (
    Failed,
    Recovered,
    Deadline,
    Restored,
    Left,
    Traffic,
    Admitted,
    Held,
    Answered,
    Rebooted,
    Proceed,
    Validated,
)


def row(at: Step, cells: Row) -> Row:
    """What is the same in most open steps, and what is not."""
    common: Row = {
        Failed: to(steps.worsen, at),
        Recovered: STAY,
        Deadline: STRAY,
        Restored: END,
        Left: LEAVE,
        Traffic: to(steps.hear, at),
        Admitted: STRAY,
        Held: STRAY,
        Answered: to(steps.note_late, at),
        Rebooted: STAY,
        Proceed: STAY,
        Validated: to(steps.validate, at),
    }
    assert cells.keys() <= common.keys(), "not an event"
    return common | cells


TABLE: dict[Step, Row] = {
    IN_SERVICE: row(
        IN_SERVICE,
        {
            Failed: to(steps.start, DRAINING),
            Restored: STAY,
            Left: STAY,
            Traffic: STAY,
            Validated: STAY,
        },
    ),
    DRAINING: row(
        DRAINING,
        {
            Recovered: to(steps.relent, DRAINING, IN_SERVICE),
            Deadline: to(steps.finish_drain, FORCING, DRAINED),
            Traffic: to(steps.let_finish, DRAINING, DRAINED),
            Rebooted: to(steps.note_boot, DRAINING),
            Proceed: to(steps.confirm, DRAINING),
        },
    ),
    FORCING: row(
        FORCING,
        {
            Recovered: to(steps.relent, FORCING, IN_SERVICE),
            Deadline: to(steps.finish_force, DRAINED),
            Traffic: to(steps.let_finish, FORCING, DRAINED),
            Rebooted: to(steps.note_boot, FORCING),
        },
    ),
    DRAINED: row(
        DRAINED,
        {
            Recovered: to(steps.readmit, DRAINED, IN_SERVICE),
            Deadline: to(recovery.ask_again, DRAINED),
            Admitted: to(recovery.set_off, REMOVING, QUARANTINED, *MENDED),
            Held: to(steps.hold, DRAINED),
            Rebooted: to(steps.note_boot, DRAINED),
            Proceed: to(steps.confirm, DRAINED),
        },
    ),
    REMOVING: row(
        REMOVING,
        {
            Traffic: to(recovery.removed, REMOVING, *MENDED),
            Rebooted: to(steps.note_boot, REMOVING),
            Proceed: to(recovery.go_on, *MENDED),
        },
    ),
    RESETTING: row(
        RESETTING,
        {
            Deadline: to(answers.run_out, RESETTING, QUARANTINED),
            Admitted: to(answers.give, RESETTING, RMA),
            Held: to(steps.hold, RESETTING),
            Answered: to(answers.answer, RESETTING, DIAGNOSING, QUARANTINED, RMA),
            Rebooted: to(recovery.reboot, DIAGNOSING, PROBATION, RMA),
            Proceed: to(recovery.rebooted_by_hand, RESETTING, DIAGNOSING, RMA),
        },
    ),
    DIAGNOSING: row(
        DIAGNOSING,
        {
            Deadline: to(answers.run_out, DIAGNOSING, QUARANTINED),
            Admitted: to(answers.give, DIAGNOSING),
            Held: to(steps.hold, DIAGNOSING),
            Answered: to(answers.answer, RESETTING, DIAGNOSING, PROBATION, QUARANTINED, RMA),
            Rebooted: to(recovery.reorder, DIAGNOSING),
        },
    ),
    PROBATION: row(
        PROBATION,
        {
            Failed: to(recovery.fail_again, PROBATION, DRAINED),
            Recovered: to(recovery.come_back, IN_SERVICE, RMA),
            Deadline: to(recovery.end_watch, PROBATION),
            Proceed: to(recovery.release, PROBATION),
            Validated: to(recovery.check_outputs, PROBATION, QUARANTINED),
        },
    ),
    QUARANTINED: row(QUARANTINED, {Proceed: to(recovery.try_again, DRAINED)}),
    RMA: row(RMA, {}),
}
assert TABLE.keys() == set(Step), "TABLE lacks a step"
assert all(cells.keys() == set(EVENTS) for cells in TABLE.values()), "TABLE has holes"


def advance(case: Case, event: Event, policy: Policy) -> Moved:
    """The case after `event`, and what to do in the world. Total and pure: any AssertionError is our bug."""
    assert event.gpu == case.gpu, ("an event for another GPU", case, event)
    step, targets = TABLE[case.step][type(event)]
    after, intents = step(case, event, policy)
    assert after == case or after.step in targets, ("no such move", case, event, after)
    assert after.gpu == case.gpu, ("identity changed", case, event, after)
    _check(case, event, after)
    return after, intents


def _check(case: Case, event: Event, after: Case) -> None:
    """What holds after every move."""
    timed = after.order is not None or after.step in (DRAINING, FORCING)
    untimed = after.step in (IN_SERVICE, REMOVING, QUARANTINED, RMA)
    assert not (timed and after.deadline_ms is None), ("no deadline", case, event, after)
    assert not (untimed and after.deadline_ms is not None), ("a deadline", case, event, after)
    assert after.order is None or after.step in (RESETTING, DIAGNOSING), ("order", case, event, after)
    assert not (case.order and after.order) or case.order == after.order, ("two orders", case, event, after)
    settled = after.deadline_ms is not None or after.waits or after.at_gate
    assert settled or not after.open, ("waits for nothing", case, event, after)
    assert after.open or not after.firm, ("nothing firm is in service", case, event, after)
    softer = (case.hard, case.corruption) > (case.hard and after.hard, case.corruption and after.corruption)
    assert not (case.open and after.open and softer), ("softened", case, event, after)


def quarantine(case: Case, at_ms: int, why: str) -> Moved:
    """What becomes of a case whose invariants broke: out of service until an operator restores the GPU."""
    after = Case(
        gpu=case.gpu,
        step=QUARANTINED,
        action=harsher(case.action, Action.EVICT),
        cause=case.cause if case.open else "quarantined",
        fault=case.fault if case.open else "quarantined",
        opened_ms=case.opened_ms if case.open else at_ms,
        hard=True,
        incident=case.incident,
        waits=f"an operator: {why}",
        **steps.kept(case) | steps.withdrawn(case),
    )
    return after, (Announce(f"quarantined: {why}"),)


def diagram() -> str:
    """The table as a Mermaid state diagram; what changes no step is left out."""
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{step.value}" as {_id(step)}' for step in Step]
    lines.append(f"    [*] --> {_id(IN_SERVICE)}")
    for step, cells in TABLE.items():
        for other in Step:
            leading = [event.__name__ for event, (_, targets) in cells.items() if other in targets]
            if leading and other is not step:
                lines.append(f"    {_id(step)} --> {_id(other)}: {', '.join(leading)}")
    return "\n".join(lines) + "\n"


def _id(step: Step) -> str:
    return step.name.lower()
