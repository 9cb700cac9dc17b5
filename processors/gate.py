"""What a case waits for by itself, before its GPU is removed, reset or diagnosed: the policy, evidence, cool-downs."""

from __future__ import annotations

from typing import NamedTuple

from processors.case import Case
from processors.cluster_policy import Policy
from schemas.states import Step

FRESH_MS = 60_000  # older evidence opens a case, and takes nobody off a node
FREE = ""


class Wait(NamedTuple):
    """why: in words; `FREE`: it waits for nothing. until_ms: when it is over, if time ends it."""

    why: str
    until_ms: int | None = None


def own(case: Case, now_ms: int, policy: Policy) -> Wait:
    """What the case itself waits for."""
    flow = policy.workflow
    if case.planned:
        return Wait("the end of planned work")
    if not flow.enabled:
        return Wait(f"actions are not enabled: {_next(case, policy)} would follow")
    if case.stale:
        return Wait("evidence of the last minute, or an operator's proceed: older evidence has taken it out")
    if now_ms < case.doubt_ms:
        return Wait("the answer to an order that was cancelled: it may be done all the same", case.doubt_ms)
    if now_ms < case.retry_ms:
        return Wait("another try of its order", case.retry_ms)
    cool_ms = case.reset_ms + round(1000 * flow.cool_down_s)
    if case.reset_ms and now_ms < cool_ms and resets(case, policy) and not is_exhausted(case, now_ms, policy):
        return Wait("its cool-down after the last reset", cool_ms)
    return Wait(FREE)


def resets(case: Case, policy: Policy) -> bool:
    """Whether a reset is what this attempt has yet to come to."""
    if case.step not in (Step.DRAINED, Step.REMOVING, Step.RESETTING) or case.permanent or case.of_node:
        return False
    return case.fault not in policy.workflow.no_reset


def is_exhausted(case: Case, now_ms: int, policy: Policy) -> bool:
    """Tried so often lately that another attempt is not worth it."""
    return case.lately(now_ms, policy) >= policy.workflow.attempts_max and not (case.permanent or case.bystander)


def _next(case: Case, policy: Policy) -> str:
    if case.permanent:
        return "its replacement"
    if case.of_node:
        return "a reboot of its node"
    return "a reset" if resets(case, policy) else "a diagnostic"
