"""Steps of a case that mend its GPU: removed, rebooted, watched, put back or given up. One cell of the table each."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from processors.case import (
    DAY_MS,
    Admitted,
    Announce,
    Attempt,
    Case,
    Deadline,
    Failed,
    Moved,
    Proceed,
    Rebooted,
    Recovered,
    Traffic,
    Validated,
)
from processors.case_steps import (
    again,
    close,
    for_order,
    hear,
    move,
    stray,
    traffic,
    validate,
    withdrawn,
    worsen,
)
from processors.cluster_policy import Policy
from processors.gate import is_exhausted, resets
from schemas.commands import RESET
from schemas.counts import counted
from schemas.states import Step

JUDGED_FIT = "a judgement that finds it fit"
RELEASES = {
    "operator": "an operator's proceed or restore: its outputs may have been wrong",
    "revalidation": "the check of its outputs, which may have been wrong, or an operator's proceed",
}


# --- removal ----------------------------------------------------------------------------------------------


def set_off(case: Case, event: Admitted, policy: Policy) -> Moved:
    """let through the second gate: removed, if a scheduler answers, then mended; given up, after too many tries"""
    case = replace(case, node=event.node, tied=event.tied)
    if is_exhausted(case, event.at_ms, policy):
        tried, days = counted(case.lately(event.at_ms, policy), "time"), policy.workflow.attempts_days
        tried = f"tried {tried} within {days:g} day{'' if days == 1 else 's'}"
        why = f"{tried}, and {case.fault or 'it'} came back"
        return give_up(case, why) if case.hard else quarantined(case, why)
    if policy.workflow.acknowledged:
        return move(case, Step.REMOVING, "to be removed by the scheduler", waits="the scheduler to remove it")
    return mend(case, event.at_ms, policy, "nobody acknowledges a removal")


def removed(case: Case, event: Traffic, policy: Policy) -> Moved:
    """once the scheduler has removed it and nothing runs any more, it is mended"""
    if event.state == "removed" and not event.in_flight:
        return mend(replace(case, in_flight=event.in_flight), event.at_ms, policy, f"{event.scheduler}: removed")
    after, intents = hear(case, event, policy)
    waits = f"the scheduler to remove it; {event.scheduler} says {traffic(event)}"
    if waits == after.waits:
        return after, intents
    return replace(after, waits=waits), intents or (Announce(f"{event.scheduler}: {traffic(event)}"),)


def go_on(case: Case, event: Proceed, policy: Policy) -> Moved:
    """mended, whatever the scheduler says"""
    return mend(case, event.at_ms, policy, f"to go on {event.note}".rstrip())


def mend(case: Case, at_ms: int, policy: Policy, detail: str) -> Moved:
    """To what its fault asks for: a reset, a reboot of its node, a diagnostic alone, or its replacement."""
    if case.permanent:
        return give_up(case, "its fault asks for a replacement")
    if case.bystander and case.rebooted:
        return watch(case, at_ms, at_ms, policy, f"{detail}; its node was rebooted")
    if case.of_node and not case.rebooted:
        return move(case, Step.RESETTING, detail, waits=for_order(replace(case, step=Step.RESETTING)))
    if case.of_node or not resets(case, policy):
        return move(case, Step.DIAGNOSING, detail, waits="its order", tries=0, retry_ms=0)
    return move(case, Step.RESETTING, detail, waits="its order", tries=0, retry_ms=0)


def ask_again(case: Case, event: Deadline, policy: Policy) -> Moved:
    """what it waited for is over: the second gate is asked again"""
    if case.deadline_ms is None:
        return stray(case, event, policy)
    return move(case, case.step, "what it waited for is over")


def count(case: Case, action: str, at_ms: int, policy: Policy) -> Case:
    """It has begun: that is an attempt, the first time."""
    changes: dict[str, Any] = {"reset_ms": at_ms} if action == RESET else {}
    if not case.counted:
        changes |= {"counted": True, "attempts": _attempts(case, at_ms, policy)}
    return replace(case, **changes)


def _attempts(case: Case, at_ms: int, policy: Policy) -> tuple[Attempt, ...]:
    since_ms = at_ms - policy.workflow.attempts_days * DAY_MS
    lately = tuple(attempt for attempt in case.attempts if attempt.at_ms > since_ms)
    return (*lately, Attempt(case.fault, at_ms))


# --- the node --------------------------------------------------------------------------------------------


def reboot(case: Case, event: Rebooted, policy: Policy) -> Moved:
    """that resets it, too: diagnosed now; watched only, if nothing but its node's fault had taken it out"""
    case = replace(count(case, RESET, event.at_ms, policy), rebooted=True, **_boot_ends(case))
    if case.bystander and not case.permanent:
        return watch(case, event.at_ms, event.at_ms, policy, "its node was rebooted")
    return diagnose(case, event.at_ms, policy, "its node was rebooted")


def reorder(case: Case, event: Rebooted, policy: Policy) -> Moved:
    """what was ordered ended with the boot: another order"""
    after = replace(case, rebooted=True, **_boot_ends(case))
    return move(after, case.step, "its node was rebooted", waits="its order")


def rebooted_by_hand(case: Case, event: Proceed, policy: Policy) -> Moved:
    """where its node has to be rebooted, that is done, or will do without"""
    if case.order is not None or not case.of_node or case.rebooted:
        return case, ()
    return diagnose(replace(case, rebooted=True), event.at_ms, policy, f"to go on {event.note}".rstrip())


def _boot_ends(case: Case) -> dict[str, Any]:
    """An order is for one boot: after another one it cannot be done any more."""
    return withdrawn(case) | {"doubt_ms": 0} if case.order is not None else {}


def diagnose(case: Case, at_ms: int, policy: Policy, detail: str) -> Moved:
    """To the diagnostic, unless that would prove nothing."""
    if case.permanent:
        return give_up(case, f"{detail}; its fault asks for a replacement")
    if case.of_node and not case.rebooted:
        return mend(case, at_ms, policy, detail)
    return move(case, Step.DIAGNOSING, detail, waits="its order", tries=0, retry_ms=0)


# --- probation -------------------------------------------------------------------------------------------


def watch(case: Case, at_ms: int, passed_ms: int, policy: Policy, detail: str) -> Moved:
    """To probation: it was found well at `passed_ms`, node time."""
    if case.permanent:
        return give_up(case, f"{detail}; its fault asks for a replacement all the same")
    if case.of_node and not case.rebooted:
        return mend(case, at_ms, policy, detail)
    if case.tainted:
        return quarantined(case, "its outputs were wrong")
    until_ms = at_ms + round(1000 * policy.workflow.probation_s)
    return move(case, Step.PROBATION, detail, passed_ms=passed_ms, deadline_ms=until_ms)


def end_watch(case: Case, event: Deadline, policy: Policy) -> Moved:
    """watched for long enough: back once it is judged fit and, if its outputs may have been wrong, released"""
    if case.deadline_ms is None:
        return stray(case, event, policy)
    return move(case, Step.PROBATION, "probation is over", waits=_back(case, policy))


def come_back(case: Case, event: Recovered, policy: Policy) -> Moved:
    """back, if probation is over and nobody has to release it"""
    if not case.watched or case.unreleased(policy):
        return case, ()
    return give_up(case, "its fault asks for a replacement") if case.permanent else close(case, "mended")


def fail_again(case: Case, event: Failed, policy: Policy) -> Moved:
    """evidence that is newer than its diagnostic: another attempt"""
    after, intents = worsen(case, event, policy)
    if event.seen_ms <= case.passed_ms:
        return after, intents
    fresh, _ = again(after, event.at_ms, policy, "")
    return fresh, (Announce(f"failed again: {event.cause}"), *intents[1:])


def release(case: Case, event: Proceed, policy: Policy) -> Moved:
    """released, if its outputs may have been wrong"""
    if not case.unreleased(policy):
        return case, ()
    after = replace(case, released=True)
    return _told(after, policy), (Announce(f"released {event.note}".rstrip()),)


def check_outputs(case: Case, event: Validated, policy: Policy) -> Moved:
    """clean: released; corrupt: out until an operator decides"""
    after, intents = validate(case, event, policy)
    if after.tainted and not case.tainted:
        return quarantined(after, "its outputs were wrong")
    return _told(after, policy), intents


def _told(case: Case, policy: Policy) -> Case:
    return replace(case, waits=_back(case, policy)) if case.watched else case


def _back(case: Case, policy: Policy) -> str:
    return RELEASES[policy.workflow.release] if case.unreleased(policy) else JUDGED_FIT


# --- the end of what we can do ---------------------------------------------------------------------------


def try_again(case: Case, event: Proceed, policy: Policy) -> Moved:
    """another attempt"""
    return again(replace(case, tainted=False), event.at_ms, policy, f"to go on {event.note}".rstrip())


def quarantined(case: Case, why: str) -> Moved:
    """Out until an operator decides."""
    return move(case, Step.QUARANTINED, why, waits=f"an operator: {why}", **withdrawn(case))


def give_up(case: Case, why: str) -> Moved:
    """To be replaced."""
    return move(case, Step.RMA, why, waits=f"its replacement: {why}", **withdrawn(case))
