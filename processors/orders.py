"""Orders to nodes: how they are named and how long they live, and what an answer proves."""

from __future__ import annotations

from processors.case import Admitted, Case
from processors.cluster_policy import Policy
from schemas.commands import DIAGNOSE, RESET, cancel_id
from schemas.records import CommandResult, Order
from schemas.states import Step

LIFE_MS = 600_000  # of an order that nobody takes up
MARGIN_MS = 120_000  # for clocks that differ, and for the way of the answer

PROVES_NOTHING = (
    "signature",
    "key",
    "node",
    "repeated",
)  # anybody can bring these about, whatever becomes of it
POINTLESS = ("action", "malformed")  # the node does not understand it, nor will it next time
NOT_BEGUN = ("refused", "dry-run", "cancelled")
RAN = ("started", "done", "failed", "indeterminate")


def given(case: Case, event: Admitted, policy: Policy) -> Order:
    """The order that the case's step asks for. Its id is its own: the sequence rises with each order to a node."""
    action = RESET if case.step is Step.RESETTING else DIAGNOSE
    return Order(
        id=f"{case.gpu}/{case.opened_ms}/{case.attempt}.{case.tries + 1}/{action}/{event.sequence}",
        action=action,
        boot=event.boot,
        sequence=event.sequence,
        expires=event.at_ms + LIFE_MS,
        level=policy.workflow.diagnose_level if action == DIAGNOSE else 0,
    )


def answer_due_ms(order: Order, since_ms: int, policy: Policy) -> int:
    """Until when its answer may come, if the tool begins at `since_ms`."""
    limit_s = policy.workflow.reset_s if order.action == RESET else policy.workflow.diagnose_s
    return since_ms + round(1000 * limit_s) + MARGIN_MS


def is_proof(result: CommandResult) -> bool:
    """Whether it tells anything of the order that it names."""
    return not (result.state == "refused" and result.reason in PROVES_NOTHING)


def is_void(order: str, result: CommandResult) -> bool:
    """Whether what cancels an order was answered so that it will never be done.

    Its node does not know it, and from now on accepts nothing whose sequence is below that of the cancelling command.
    """
    unknown = result.state == "refused" and result.reason == "unknown"
    return unknown and result.id == cancel_id(order) and result.sequence > int(order.rpartition("/")[2])


def said(result: CommandResult) -> str:
    """Why it did not go well, in words."""
    return ": ".join(part for part in (result.reason, result.detail) if part) or result.state
