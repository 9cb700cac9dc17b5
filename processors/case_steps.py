"""Steps of a case that anything may lead to: it opens and drains, gets worse, and ends. One cell of the table each.

A step is pure; its docstring is what the reference says that it does.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from processors import gate, orders
from processors.case import (
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
    RemoveNode,
    Report,
    Restored,
    Traffic,
    Validated,
    drastic,
    harsher,
)
from processors.cluster_policy import Policy
from schemas.commands import RESET
from schemas.states import Action, Step


def start(case: Case, event: Failed, policy: Policy) -> Moved:
    """route nothing new, let requests finish"""
    opened = Case(
        gpu=case.gpu,
        step=Step.DRAINING,
        action=drastic(event.action),
        cause=event.cause,
        fault=event.fault,
        opened_ms=max(event.at_ms, case.opened_ms + 1),  # with the GPU it is the identity of the case
        deadline_ms=event.at_ms + round(1000 * policy.drain_timeout_s),
        hard=event.hard,
        corruption=event.corruption,
        corrupt_ms=_corrupt_ms(event),
        takes_node=_takes_node(event),
        bystander=event.bystander and not event.corruption,
        for_good=event.action is Action.EVICT_PERMANENTLY,
        stale=not event.corruption and not _is_fresh(event),
        incident=event.incident,
        **kept(case),
    )
    return opened, (Announce(event.cause), *_node_goes(case, opened))


def worsen(case: Case, event: Failed, policy: Policy) -> Moved:
    """add the evidence; it never gets milder"""
    action = harsher(case.action, event.action)
    corrupt_ms = max(case.corrupt_ms, _corrupt_ms(event))
    after = replace(
        case,
        action=action,
        hard=case.hard or event.hard,
        corruption=case.corruption or event.corruption,
        corrupt_ms=corrupt_ms,
        released=case.released and corrupt_ms == case.corrupt_ms,
        takes_node=case.takes_node or _takes_node(event),
        bystander=case.bystander and event.bystander and not event.corruption,
        for_good=case.for_good or event.action is Action.EVICT_PERMANENTLY,
        stale=case.stale and not event.corruption and not _is_fresh(event),
        rebooted=case.rebooted and (action is case.action or action is not Action.REMOVE_NODE),
        incident=case.incident if event.bystander else event.incident or case.incident,
    )
    if after == case:
        return case, ()
    if after.step is Step.DRAINED and after.deadline_ms is None:
        after = asked(after, event.at_ms, policy)
    elif after.step is Step.RESETTING and after.order is None and after.deadline_ms is None:
        after = replace(after, waits=for_order(after))
    return after, (Announce(event.cause), *_node_goes(case, after))


def relent(case: Case, event: Recovered, policy: Policy) -> Moved:
    """back, unless the cause was a hard fault or suspected corruption"""
    return (case, ()) if case.firm else close(case, "recovered")


def readmit(case: Case, event: Recovered, policy: Policy) -> Moved:
    """back, if nothing but planned work had taken it out; else it has to be mended, or an operator decides"""
    return close(case, "planned work is over") if case.planned else (case, ())


def finish_drain(case: Case, event: Deadline, policy: Policy) -> Moved:
    """the time for requests to finish is over; a scheduler that answers ends those that still run"""
    if policy.workflow.acknowledged and case.in_flight != 0 and not case.stale:
        until_ms = event.at_ms + round(1000 * policy.workflow.force_timeout_s)
        return move(case, Step.FORCING, "drain timeout: what still runs is ended", deadline_ms=until_ms)
    return _drained(case, event.at_ms, policy, "drain timeout")


def finish_force(case: Case, event: Deadline, policy: Policy) -> Moved:
    """the scheduler has had its time"""
    return _drained(case, event.at_ms, policy, "force timeout")


def let_finish(case: Case, event: Traffic, policy: Policy) -> Moved:
    """note what still runs; where nothing does, and nothing new comes, the drain is over"""
    heard, intents = hear(case, event, policy)
    over = event.in_flight == 0 if event.state == "drained" else event.state == "removed" and not event.in_flight
    if policy.workflow.acknowledged and over:
        return _drained(heard, event.at_ms, policy, f"{event.scheduler}: nothing runs any more")
    return heard, intents


def hear(case: Case, event: Traffic, policy: Policy) -> Moved:
    """note what still runs"""
    after = replace(case, in_flight=event.in_flight)
    return (case, ()) if after == case else (after, (Announce(f"{event.scheduler}: {traffic(event)}"),))


def confirm(case: Case, event: Proceed, policy: Policy) -> Moved:
    """old evidence will do"""
    if not case.stale:
        return case, ()
    after = replace(case, stale=False)
    if after.step is Step.DRAINED and after.deadline_ms is None:
        after = asked(after, event.at_ms, policy)
    return after, (Announce(f"to go on {event.note}".rstrip()),)


def note_boot(case: Case, event: Rebooted, policy: Policy) -> Moved:
    """note it: who waits for that need not wait any more"""
    return (case, ()) if case.rebooted else (replace(case, rebooted=True), (Announce("its node was rebooted"),))


def note_late(case: Case, event: Answered, policy: Policy) -> Moved:
    """an order that was taken back: whatever the answer, nothing follows but that its reset counts for the cool-down"""
    result, void = event.result, bool(case.cancel) and orders.is_void(case.cancel, event.result)
    if not void and (not case.cancel or result.id != case.cancel or not orders.is_proof(result)):
        return case, ()
    reset = result.action == RESET and result.state in orders.RAN
    settled = result.state != "started"
    after = replace(
        case,
        reset_ms=event.at_ms if reset else case.reset_ms,
        doubt_ms=0 if settled else case.doubt_ms,
        cancel="" if settled else case.cancel,
        deadline_ms=None if settled and case.order is None and _asks(case) else case.deadline_ms,
    )
    if after.at_gate:
        after = asked(after, event.at_ms, policy)
    told = "its node will not do it" if void else result.state
    said = f"the cancelled order was answered: {told}" + (": the GPU was reset all the same" if reset else "")
    return (case, ()) if after == case else (after, (Announce(said),))


def validate(case: Case, event: Validated, policy: Policy) -> Moved:
    """note what came of its outputs, if that covers all evidence"""
    if not case.corruption or event.end < case.corrupt_ms:
        return case, ()
    if event.result == "corrupt":
        after, detail = replace(case, tainted=True, released=False), "its outputs were wrong"
    elif event.result == "clean" and policy.workflow.release == "revalidation" and not case.tainted:
        after, detail = replace(case, released=True), "its outputs were checked: clean"
    else:
        return case, ()
    return (case, ()) if after == case else (after, (Announce(detail),))


def restore(case: Case, event: Restored, policy: Policy) -> Moved:
    """an operator's word ends it, and takes back an order that is outstanding"""
    return close(case, f"restored {event.note}".rstrip())


def leave(case: Case, event: Left, policy: Policy) -> Moved:
    """the GPU is not there any more"""
    return close(case, "another GPU stands in its slot")


def stay(case: Case, event: Event, policy: Policy) -> Moved:
    """expected, no change"""
    return case, ()


def stray(case: Case, event: Event, policy: Policy) -> Moved:
    """unexpected: reported, no change"""
    return case, (Report(f"stray {type(event).__name__} for a GPU that is {case.step}: {event}"),)


def hold(case: Case, event: Held, policy: Policy) -> Moved:
    """note what it waits for, and take back an order that has not begun"""
    if case.started:
        return case, ()
    free = replace(case, **withdrawn(case))
    after = replace(free, waits=event.why, deadline_ms=event.until_ms)
    if free.awaits_boot:
        after = replace(free, waits=for_order(free), deadline_ms=None)
    return (case, ()) if after == case else (after, (Announce(f"waits for {event.why}"),))


# --- what steps are made of -------------------------------------------------------------------------------


def move(case: Case, to: Step, detail: str, **changes: Any) -> Moved:
    """To another step; what the former one waited for is over."""
    after = replace(case, step=to, **{"deadline_ms": None, "waits": "", **changes})
    return after, (Announce(detail),)


def close(case: Case, detail: str) -> Moved:
    after = Case(
        gpu=case.gpu,
        action=case.action,
        cause=case.cause,
        fault=case.fault,
        opened_ms=case.opened_ms,
        incident=case.incident,
        **kept(case) | withdrawn(case),
    )
    return after, (Announce(detail),)


def kept(case: Case) -> dict[str, Any]:
    """What outlives a case."""
    return {
        "attempts": case.attempts,
        "reset_ms": case.reset_ms,
        "cancel": case.cancel,
        "doubt_ms": case.doubt_ms,
    }


def withdrawn(case: Case) -> dict[str, Any]:
    """An outstanding order is not to be done any more; until its answer is due it may be, all the same."""
    if case.order is None:
        return {}
    return {"order": None, "started": False, "cancel": case.order.id, "doubt_ms": case.deadline_ms or 0}


def again(case: Case, at_ms: int, policy: Policy, detail: str) -> Moved:
    """A new attempt, from the second gate on."""
    fresh = replace(
        case, **withdrawn(case), attempt=case.attempt + 1, counted=False, tries=0, retry_ms=0, rebooted=False
    )
    return _drained(fresh, at_ms, policy, detail)


def asked(case: Case, at_ms: int, policy: Policy) -> Case:
    """With what it waits for by itself."""
    why, until_ms = gate.own(case, at_ms, policy)
    return replace(case, waits=why, deadline_ms=until_ms)


def traffic(event: Traffic) -> str:
    """What a scheduler has said, in words."""
    running = "" if event.in_flight is None else f", {event.in_flight} in flight"
    return f"{event.state}{running}" + (f" ({event.detail})" if event.detail else "")


def for_order(case: Case) -> str:
    """What a case in `RESETTING` or `DIAGNOSING` waits for."""
    if case.awaits_boot:
        peers = " (it cannot be reset without its NVLink peers)" if case.tied else ""
        return f"{case.node or 'its node'} has to be rebooted{peers}"
    return "its order"


def _drained(case: Case, at_ms: int, policy: Policy, detail: str) -> Moved:
    return asked(replace(case, step=Step.DRAINED), at_ms, policy), (Announce(detail),)


def _asks(case: Case) -> bool:
    return case.step in (Step.DRAINED, Step.RESETTING, Step.DIAGNOSING)


def _is_fresh(event: Failed) -> bool:
    return event.at_ms - event.seen_ms <= gate.FRESH_MS


def _corrupt_ms(event: Failed) -> int:
    return (event.corrupt_ms or event.seen_ms) if event.corruption else 0


def _takes_node(event: Failed) -> bool:
    return event.action is Action.REMOVE_NODE and not event.bystander


def _node_goes(before: Case, after: Case) -> tuple[RemoveNode, ...]:
    """Once per case: a neighbour that an operator has put back stays in when the same fault is seen again."""
    return (RemoveNode(after.cause, after.incident),) if after.takes_node and not before.takes_node else ()
