"""What a GPU is a part of (node, rack, NVLink domain, groups, models), and how many of each unit count just now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from processors.groups import Groups
from schemas.records import ConditionChange, Placement


class Unit(NamedTuple):
    """kind: node, rack, domain, group or model. A model is named with its namespace, where it has one."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def units(gpu: ConditionChange, groups: Groups) -> tuple[Unit, ...]:
    """Of a GPU, as far as is known: always its node and its NVLink domain, each unit once."""
    links = groups.links.get(gpu.uuid) if gpu.uuid else None
    found = [Unit("node", gpu.node)]
    if links is not None and links.rack:
        found.append(Unit("rack", links.rack))
    found.append(Unit("domain", (links.domain if links is not None else "") or gpu.node))
    placements = groups.placements(gpu.uuid) if gpu.uuid else []
    found += [Unit("group", placement.group) for placement in placements]
    found += dict.fromkeys(Unit("model", _model(placement)) for placement in placements if placement.model)
    return tuple(found)


def _model(placement: Placement) -> str:
    return f"{placement.namespace}/{placement.model}" if placement.namespace else placement.model


class Ledger:
    """GPUs that count, and how many of them each unit has. freed: units that have fewer than before. begun: a node has
    its first.
    """

    def __init__(self) -> None:
        self.used: dict[Unit, int] = {}
        self.kinds: dict[str, int] = {}  # how many units of a kind have any
        self.freed: set[Unit] = set()
        self.begun = False
        self._of: dict[str, tuple[Unit, ...]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, gpu: object) -> bool:
        return gpu in self._of

    def put(self, gpu: str, of: tuple[Unit, ...]) -> None:
        """It counts from now on, in these units and no others."""
        before = self._of.get(gpu)
        if before == of:
            return
        self._of[gpu] = of
        self._more(of)
        if before is not None:
            self._less(before)

    def drop(self, gpu: str) -> None:
        """It does not count any more; harmless if it has not."""
        before = self._of.pop(gpu, None)
        if before is not None:
            self._less(before)

    def clear(self) -> None:
        self.used.clear()
        self.kinds.clear()
        self._of.clear()
        self.freed.clear()
        self.begun = False

    def _more(self, units: Iterable[Unit]) -> None:
        for unit in units:
            count = self.used.get(unit, 0)
            self.used[unit] = count + 1
            if not count:
                self.kinds[unit.kind] = self.kinds.get(unit.kind, 0) + 1
                self.begun = self.begun or unit.kind == "node"

    def _less(self, units: Iterable[Unit]) -> None:
        for unit in units:
            self.freed.add(unit)
            count = self.used.pop(unit) - 1
            if count:
                self.used[unit] = count
            else:
                self.kinds[unit.kind] -= 1
                if not self.kinds[unit.kind]:
                    del self.kinds[unit.kind]
