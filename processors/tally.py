"""Counts of the fleet, kept as its GPUs change: who is out, in a disruptive step, unknown, or wanted out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from processors.budget import limited_kinds, nodes_limit
from processors.cluster_policy import Policy
from processors.groups import Groups
from processors.scopes import Ledger, Unit, units

if TYPE_CHECKING:
    from processors.fleet import Member


class Tally:
    """out, steps: GPUs out of service, and those in a disruptive step, by the units that have a limit. blind: unknown
    ones that have traffic or a case. wanting: those with a case, or that wait for one.
    """

    def __init__(self) -> None:
        self.out, self.steps = Ledger(), Ledger()
        self.blind: set[str] = set()
        self.wanting: set[str] = set()
        self._kinds: tuple[frozenset[str], frozenset[str]] = frozenset(), frozenset()
        self._groups: Groups | None = None

    def use(self, policy: Policy, groups: Groups, members: Iterable[Member]) -> None:
        """Count all anew, by the limits of `policy`."""
        out = limited_kinds(policy.budgets)
        if nodes_limit(1, policy.budgets) is not None:
            out |= {"node"}
        self._kinds, self._groups = (out, limited_kinds(policy.steps) | {"node"}), groups
        self.out.clear()
        self.steps.clear()
        for member in members:
            self.note(member)
        self.out.begun = self.steps.begun = False  # none of them has begun just now

    def note(self, member: Member, waiting: bool = False) -> bool:
        """The GPU is as `member` says now; returns whether it is wanted out only now."""
        key, (out, steps) = member.key, self._kinds
        if member.out:
            self.out.put(key, self._units(member, out))
        else:
            self.out.drop(key)
        if member.case.disrupted:
            self.steps.put(key, self._units(member, steps))
        else:
            self.steps.drop(key)
        if member.blind:
            self.blind.add(key)
        else:
            self.blind.discard(key)
        if not (member.case.open or member.held_by or waiting):
            self.wanting.discard(key)
        elif key not in self.wanting:
            self.wanting.add(key)
            return True
        return False

    def forget(self, gpu: str) -> None:
        self.out.drop(gpu)
        self.steps.drop(gpu)
        self.blind.discard(gpu)
        self.wanting.discard(gpu)

    def regroup(self, member: Member) -> None:
        """Its rack, domain or groups may be others than before."""
        for ledger, kinds in zip((self.out, self.steps), self._kinds, strict=True):
            if member.key in ledger:
                ledger.put(member.key, self._units(member, kinds))

    def _units(self, member: Member, kinds: frozenset[str]) -> tuple[Unit, ...]:
        if not kinds or self._groups is None:
            return ()
        return tuple(unit for unit in units(member.change, self._groups) if unit.kind in kinds)
