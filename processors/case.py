"""The case of one GPU that is taken out of service: one complete table of what may follow what.

Three kinds of wrong are kept apart. A bad record never gets here. A stray event (late, doubled) is a cell of
the table: reported, no change. A broken invariant is our bug: an AssertionError out of `advance`, which has
touched nothing; the caller quarantines that one case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from processors.cluster_policy import Policy
from schemas.states import Action, CaseState

IN_SERVICE, DRAINING, DRAINED = CaseState
PLANNED = "maintenance"  # the signal, and so the fault, of a GPU that an operator has announced work on
HARSHNESS = {action: rank for rank, action in enumerate(Action)}


def harsher(one: Action, other: Action) -> Action:
    return max(one, other, key=HARSHNESS.__getitem__)


def drastic(action: Action) -> Action:
    """What is done to a GPU that is taken out: evict, where nothing that takes it out was asked for."""
    return action if HARSHNESS[action] >= HARSHNESS[Action.DRAIN] else Action.EVICT


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a GPU stands. `IN_SERVICE` is "no open case"; what the last one was about stays readable.

    cause: in words. fault: what kind of thing that is (a signal's name, `xid_48`, `node_removed`), to count by.
    takes_node: this GPU's own fault takes its node out. hard, corruption: of any evidence since it opened.
    """

    gpu: str
    state: CaseState = IN_SERVICE
    action: Action = Action.NONE
    cause: str = ""
    fault: str = ""
    opened_ms: int = 0
    deadline_ms: int | None = None
    hard: bool = False
    corruption: bool = False
    takes_node: bool = False

    @property
    def open(self) -> bool:
        return self.state is not IN_SERVICE

    @property
    def firm(self) -> bool:
        """Not discretionary: no budget holds it back, and only an operator ends it."""
        return self.hard or self.corruption


# --- events: what happens to a case -----------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True):
    gpu: str
    at_ms: int


class Failed(Event, frozen=True, kw_only=True):
    """Evidence against the GPU: the first opens a case, more may worsen it. bystander: only its node goes."""

    action: Action
    cause: str
    fault: str = ""
    hard: bool = False
    corruption: bool = False
    bystander: bool = False


class Recovered(Event, frozen=True):
    """The GPU is judged fit for traffic again."""


class Deadline(Event, frozen=True):
    """The case's `deadline_ms` has passed."""


class Restored(Event, frozen=True):
    """An operator puts the GPU back. note: who, and why."""

    note: str = ""


class Left(Event, frozen=True):
    """Another GPU stands in its slot."""


# --- intents: what to do in the world ---------------------------------------------------------------------


class Announce(msgspec.Struct, frozen=True):
    """Publish the case as it stands now. detail: what changed."""

    detail: str


class RemoveNode(msgspec.Struct, frozen=True):
    """Take the other GPUs of the node out as well."""

    cause: str


class Report(msgspec.Struct, frozen=True):
    """Tell people of an event that nobody should have sent."""

    why: str


Intent = Announce | RemoveNode | Report
Moved = tuple[Case, tuple[Intent, ...]]
Step = Callable[[Case, Any, Policy], Moved]
Cell = tuple[Step, frozenset[CaseState]]


# --- steps ------------------------------------------------------------------------------------------------


def start(case: Case, event: Failed, policy: Policy) -> Moved:
    """route nothing new, let requests finish"""
    opened = Case(
        gpu=case.gpu,
        state=DRAINING,
        action=drastic(event.action),
        cause=event.cause,
        fault=event.fault,
        opened_ms=event.at_ms,
        deadline_ms=event.at_ms + round(1000 * policy.drain_timeout_s),
        hard=event.hard,
        corruption=event.corruption,
        takes_node=_takes_node(event),
    )
    return opened, (Announce(event.cause), *_node_goes(case, opened))


def worsen(case: Case, event: Failed, policy: Policy) -> Moved:
    """add the evidence; it never gets milder"""
    after = msgspec.structs.replace(
        case,
        action=harsher(case.action, event.action),
        hard=case.hard or event.hard,
        corruption=case.corruption or event.corruption,
        takes_node=case.takes_node or _takes_node(event),
    )
    return after, (Announce(event.cause), *_node_goes(case, after)) if after != case else ()


def relent(case: Case, event: Recovered, policy: Policy) -> Moved:
    """back, unless the cause was a hard fault or suspected corruption"""
    return (case, ()) if case.firm else _close(case, "recovered")


def readmit(case: Case, event: Recovered, policy: Policy) -> Moved:
    """back, if nothing but planned work had taken it out; else only an operator can say that it is fit"""
    planned = case.fault == PLANNED and case.action is Action.DRAIN and not case.firm
    return _close(case, "planned work is over") if planned else (case, ())


def finish_drain(case: Case, event: Deadline, policy: Policy) -> Moved:
    """the time for requests to finish is over"""
    after = msgspec.structs.replace(case, state=DRAINED, deadline_ms=None)
    return after, (Announce("drain timeout"),)


def restore(case: Case, event: Restored, policy: Policy) -> Moved:
    """an operator's word ends it"""
    return _close(case, f"restored {event.note}".rstrip())


def leave(case: Case, event: Left, policy: Policy) -> Moved:
    """the GPU is not there any more"""
    return _close(case, "another GPU stands in its slot")


def stay(case: Case, event: Event, policy: Policy) -> Moved:
    """expected, no change"""
    return case, ()


def stray(case: Case, event: Event, policy: Policy) -> Moved:
    """unexpected: reported, no change"""
    return case, (Report(f"stray {type(event).__name__} for a GPU that is {case.state}: {event}"),)


def _takes_node(event: Failed) -> bool:
    return event.action is Action.REMOVE_NODE and not event.bystander


def _node_goes(before: Case, after: Case) -> tuple[RemoveNode, ...]:
    """Once per case: a neighbour that an operator has put back stays in when the same fault is seen again."""
    return (RemoveNode(after.cause),) if after.takes_node and not before.takes_node else ()


def _close(case: Case, detail: str) -> Moved:
    after = Case(gpu=case.gpu, action=case.action, cause=case.cause, fault=case.fault, opened_ms=case.opened_ms)
    return after, (Announce(detail),)


def quarantine(case: Case, at_ms: int, why: str) -> Moved:
    """What becomes of a case whose invariants broke: out of service until an operator restores the GPU."""
    after = Case(
        gpu=case.gpu,
        state=DRAINED,
        action=harsher(case.action, Action.EVICT),
        cause=case.cause if case.open else "quarantined",
        fault=case.fault if case.open else "quarantined",
        opened_ms=case.opened_ms if case.open else at_ms,
        hard=True,
    )
    return after, (Announce(f"quarantined: {why}"),)


# --- the table: (step, where it may lead) -----------------------------------------------------------------

STAY: Cell = stay, frozenset()
STRAY: Cell = stray, frozenset()
END: Cell = restore, frozenset({IN_SERVICE})
LEAVE: Cell = leave, frozenset({IN_SERVICE})
EVENTS: tuple[type[Event], ...] = (Failed, Recovered, Deadline, Restored, Left)

TABLE: dict[CaseState, dict[type[Event], Cell]] = {
    IN_SERVICE: {
        Failed: (start, frozenset({DRAINING})),
        Recovered: STAY,
        Deadline: STRAY,
        Restored: STAY,
        Left: STAY,
    },
    DRAINING: {
        Failed: (worsen, frozenset({DRAINING})),
        Recovered: (relent, frozenset({DRAINING, IN_SERVICE})),
        Deadline: (finish_drain, frozenset({DRAINED})),
        Restored: END,
        Left: LEAVE,
    },
    DRAINED: {
        Failed: (worsen, frozenset({DRAINED})),
        Recovered: (readmit, frozenset({DRAINED, IN_SERVICE})),
        Deadline: STRAY,
        Restored: END,
        Left: LEAVE,
    },
}
assert TABLE.keys() == set(CaseState), "TABLE lacks a state"
assert all(row.keys() == set(EVENTS) for row in TABLE.values()), "TABLE has holes"


def advance(case: Case, event: Event, policy: Policy) -> Moved:
    """The case after `event`, and what to do in the world. Total and pure: any AssertionError is our bug."""
    assert event.gpu == case.gpu, ("an event for another GPU", case, event)
    step, targets = TABLE[case.state][type(event)]
    after, intents = step(case, event, policy)
    assert after == case or after.state in targets, ("no such move", case, event, after)
    assert after.gpu == case.gpu, ("identity changed", case, event, after)
    assert (after.deadline_ms is None) == (after.state is not DRAINING), ("deadline", case, event, after)
    assert after.open or not after.firm, ("nothing firm is in service", case, event, after)
    softer = (case.hard, case.corruption) > (case.hard and after.hard, case.corruption and after.corruption)
    assert not (case.open and after.open and softer), ("softened", case, event, after)
    return after, intents


def diagram() -> str:
    """The table as a Mermaid state diagram; cells without a move are left out."""
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{state.value}" as {_id(state)}' for state in CaseState]
    lines.append(f"    [*] --> {_id(IN_SERVICE)}")
    for state, row in TABLE.items():
        for event, (step, targets) in row.items():
            what = f"{event.__name__}: {step.__doc__}"
            lines += [f"    {_id(state)} --> {_id(to)}: {what}" for to in CaseState if to in targets]
    return "\n".join(lines) + "\n"


def _id(state: CaseState) -> str:
    return state.name.lower()
