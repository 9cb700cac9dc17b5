"""Steps of a case that give orders to its node and take the answers. One cell of the table each."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from processors import orders
from processors.case import Admitted, Announce, Answered, Case, Deadline, Moved
from processors.case_recovery import count, diagnose, give_up, mend, quarantined, watch
from processors.case_steps import for_order, move, note_late, stray
from processors.cluster_policy import Policy
from schemas.commands import RESET
from schemas.counts import counted
from schemas.states import Step


def give(case: Case, event: Admitted, policy: Policy) -> Moved:
    """its node is given the order; or it is given up, if its replacement was asked for meanwhile"""
    if case.order is not None or case.awaits_boot or event.at_ms < case.doubt_ms:
        return stray(case, event, policy)
    if case.permanent and case.step is Step.RESETTING:
        return give_up(case, "its fault asks for a replacement")
    order = orders.given(case, event, policy)
    due_ms = orders.answer_due_ms(order, order.expires, policy)
    detail = f"{order.action} ordered"
    return move(case, case.step, detail, order=order, tries=case.tries + 1, retry_ms=0, deadline_ms=due_ms)


def answer(case: Case, event: Answered, policy: Policy) -> Moved:
    """what its node answers to the outstanding order; anything else changes nothing"""
    order, result = case.order, event.result
    if order is None or result.id != order.id:
        return note_late(case, event, policy)
    if result.action not in ("", order.action) or not orders.is_proof(result) or result.state not in ANSWERS:
        return case, ()
    if case.started and result.state in orders.NOT_BEGUN:
        return case, ()  # that cannot be: until it is known what is so, nothing else is ordered
    if result.state in orders.RAN and not (case.started and result.state == "started"):
        case = count(case, order.action, event.at_ms, policy)
    return ANSWERS[result.state](case, event, policy)


def _began(case: Case, event: Answered, policy: Policy) -> Moved:
    if case.started or case.order is None:
        return case, ()
    due_ms = orders.answer_due_ms(case.order, event.at_ms, policy)
    return replace(case, started=True, deadline_ms=due_ms), (Announce(f"{case.order.action} has begun"),)


def _done(case: Case, event: Answered, policy: Policy) -> Moved:
    result, reset = event.result, case.order is not None and case.order.action == RESET
    case = answered(case)
    if reset:
        return diagnose(case, event.at_ms, policy, "reset")
    if result.reason == "pass":
        return watch(case, event.at_ms, min(result.started or result.ts, event.at_ms), policy, "its diagnostic passed")
    if result.reason == "fail":
        return give_up(case, f"its diagnostic failed: {result.detail}".rstrip(": "))
    return quarantined(case, f"its diagnostic proves nothing: {orders.said(result)}")


def _failed(case: Case, event: Answered, policy: Policy) -> Moved:
    reset, case = case.order is not None and case.order.action == RESET, answered(case)
    if not reset:
        return quarantined(case, f"its diagnostic did not run to its end: {orders.said(event.result)}")
    if case.of_node and not case.permanent:
        return mend(case, event.at_ms, policy, f"its reset failed: {orders.said(event.result)}")
    return give_up(case, f"its reset failed: {orders.said(event.result)}")


def _refused(case: Case, event: Answered, policy: Policy) -> Moved:
    result, case = event.result, answered(case)
    if result.reason in orders.POINTLESS or case.tries >= policy.workflow.order_tries:
        return quarantined(
            case, f"its node refuses, after {counted(case.tries, 'try', 'tries')}: {orders.said(result)}"
        )
    retry_ms = event.at_ms + round(1000 * policy.workflow.cool_down_s)
    waits = f"another try of its order: {orders.said(result)}"
    detail = f"refused, nothing was done: {orders.said(result)}"
    return move(case, case.step, detail, waits=waits, retry_ms=retry_ms, deadline_ms=retry_ms)


def _rehearsed(case: Case, event: Answered, policy: Policy) -> Moved:
    where = f"the agent of {event.result.node} is in dry run"
    return quarantined(answered(case), f"{where}: {event.result.detail}".rstrip(": "))


def _unknown_end(case: Case, event: Answered, policy: Policy) -> Moved:
    return quarantined(answered(case), f"look at it before it is said again: {orders.said(event.result)}")


def _cancelled(case: Case, event: Answered, policy: Policy) -> Moved:
    return quarantined(answered(case), f"somebody cancelled its order: {event.result.detail}".rstrip(": "))


ANSWERS: dict[str, Callable[[Case, Answered, Policy], Moved]] = {
    "started": _began,
    "done": _done,
    "failed": _failed,
    "refused": _refused,
    "dry-run": _rehearsed,
    "indeterminate": _unknown_end,
    "cancelled": _cancelled,
}


def run_out(case: Case, event: Deadline, policy: Policy) -> Moved:
    """no answer in time: nobody knows whether it was done; without an order, the second gate is asked again"""
    if case.deadline_ms is None:
        return stray(case, event, policy)
    if case.order is None:
        return move(case, case.step, "what it waited for is over", waits=for_order(case))
    why = f"no answer to {case.order.action} of {case.node or 'its node'}: whether it was done is not known"
    return quarantined(case, why)


def answered(case: Case) -> Case:
    """Without the order that was outstanding."""
    return replace(case, order=None, started=False, deadline_ms=None)
