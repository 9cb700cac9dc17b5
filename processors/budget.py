"""Budgets: how many GPUs may be out of service, or in a disruptive step, at once: in all, and of each unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from processors.brake_policy import StepLimits, UnitLimits
from processors.cluster_policy import Policy
from processors.scopes import Unit

BUDGET = "budget"  # as `held_by` of a decision names it
NODES = f"{BUDGET}:nodes"
KINDS = ("node", "rack", "domain", "group", "model")


class Removal(NamedTuple):
    """The intent to take a GPU out. discretionary: neither a hard fault nor suspected corruption."""

    discretionary: bool


class Capacity(NamedTuple):
    """known: GPUs of the fleet. out: those with an open case, whatever its cause, and those unknown."""

    known: int
    out: int


def limit(known: int, policy: Policy) -> int | None:
    """How many GPUs may be out at once; None = any number."""
    return None if policy.gpus_out_max is None else _smaller(policy.gpus_out_max, policy.gpus_out_share, known)


def nodes_limit(known: int, limits: UnitLimits) -> int | None:
    """How many nodes may have a GPU that is out; None = any number."""
    if limits.nodes_out_max is None and limits.nodes_out_share >= 1.0:
        return None
    return _smaller(known if limits.nodes_out_max is None else limits.nodes_out_max, limits.nodes_out_share, known)


def limited_kinds(limits: UnitLimits | StepLimits) -> frozenset[str]:
    """The kinds of units that have a limit."""
    return frozenset(kind for kind in KINDS if unit_limit(kind, limits) is not None)


def unit_limit(kind: str, limits: UnitLimits | StepLimits) -> int | None:
    found: int | None = getattr(limits, f"{kind}_max")
    return found


def admit(intent: Removal, capacity: Capacity, policy: Policy) -> str:
    """What holds the removal back; "" = nothing does. The GPU itself is not among those that are out."""
    most = limit(capacity.known, policy)
    if not intent.discretionary or most is None or capacity.out < most:
        return ""
    return BUDGET


def full(units: Iterable[Unit], used: Mapping[Unit, int], limits: UnitLimits | StepLimits, own: int = 0) -> Unit | None:
    """The first of `units` that has no room for the GPU. own: 1 if it is among those that are `used`."""
    for unit in units:
        most = unit_limit(unit.kind, limits)
        if most is not None and used.get(unit, 0) - own >= most:
            return unit
    return None


def _smaller(most: int, share: float, known: int) -> int:
    return min(most, max(1, int(share * known + 1e-9)))  # 0.29 of 100 GPUs is 29, in spite of binary digits
