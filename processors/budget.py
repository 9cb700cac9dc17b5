"""The budget: how many GPUs may be out of service at once before discretionary removals have to wait."""

from __future__ import annotations

from typing import NamedTuple

from processors.cluster_policy import Policy

BUDGET = "budget"  # as `held_by` of a decision names it


class Removal(NamedTuple):
    """The intent to take a GPU out. discretionary: neither a hard fault nor suspected corruption."""

    discretionary: bool


class Capacity(NamedTuple):
    """known: GPUs of the fleet. out: those with an open case, whatever its cause, and those unknown."""

    known: int
    out: int


def limit(known: int, policy: Policy) -> int | None:
    """How many GPUs may be out at once; None = any number."""
    if policy.gpus_out_max is None:
        return None
    share = int(policy.gpus_out_share * known + 1e-9)  # 0.29 of 100 GPUs is 29, in spite of binary digits
    return min(policy.gpus_out_max, max(1, share))


def admit(intent: Removal, capacity: Capacity, policy: Policy) -> str:
    """What holds the removal back; "" = nothing does. The GPU itself is not among those that are out."""
    most = limit(capacity.known, policy)
    if not intent.discretionary or most is None or capacity.out < most:
        return ""
    return BUDGET
