"""Which GPU has which row, and who is who when GPUs move, are replaced or get their names late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from processors.node_state import NodeState
from schemas.records import Gpu


class Place(NamedTuple):
    """Where a GPU's row is, and what changed with that.

    named: the row was known by its BDF alone so far. moved: it has another BDF than before.
    replaced: UUID of the GPU that stood in this row before. absorbed: another row, known by its BDF alone, that
    turns out to be this GPU. displaced: the row of another GPU, in whose slot this one stands now.
    """

    row: int
    named: bool = False
    moved: bool = False
    replaced: str = ""
    absorbed: int | None = None
    displaced: int | None = None


class Roster:
    """Which GPU has which row: the one of its UUID on this node, else the one of its slot (node, BDF)."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.node_of: list[str] = []
        self.uuid_of: list[str] = []
        self.bdf_of: list[str] = []
        self._by_bdf: dict[tuple[str, str], int] = {}
        self._by_uuid: dict[tuple[str, str], int] = {}
        self._rows: dict[str, list[int]] = {}  # all that a node ever had

    def __len__(self) -> int:
        return len(self.node_of)

    def node(self, name: str) -> NodeState:
        state = self.nodes.get(name)
        if state is None:
            state = self.nodes[name] = NodeState(name)
        return state

    def settled(self, node: str, uuid: str, bdf: str) -> int | None:
        """The row of a GPU of which nothing new is said; None where `find` would change something."""
        own = self._by_uuid.get((node, uuid)) if uuid else None
        slot = self._by_bdf.get((node, bdf)) if bdf else None
        if not uuid:
            return slot
        return own if own == slot or not bdf else None

    def find(self, node: str, uuid: str, bdf: str) -> Place:
        """The row of a GPU, a new one if need be. It follows the UUID when the GPU changes its slot."""
        row = self.settled(node, uuid, bdf)
        if row is not None:
            return Place(row)
        self.node(node).gpus_raw = msgspec.Raw()  # the node's next frame looks its rows up again
        own = self._by_uuid.get((node, uuid)) if uuid else None
        slot = self._by_bdf.get((node, bdf)) if bdf else None
        named, replaced, absorbed, displaced = False, "", None, None
        if own is None and slot is None:
            row = len(self.node_of)
            self._rows.setdefault(node, []).append(row)
            self.node_of.append(node)
            self.uuid_of.append("")
            self.bdf_of.append("")
        elif own is None:
            assert slot is not None
            row, replaced = slot, self.uuid_of[slot]
            named = not replaced
            self._by_uuid.pop((node, replaced), None)
        else:
            row = own
            self._by_bdf.pop((node, self.bdf_of[own]), None)
            if slot is not None and self.uuid_of[slot]:
                displaced = slot
                self.bdf_of[slot] = ""
            elif slot is not None:
                absorbed = slot
        if uuid:
            self.uuid_of[row] = uuid
            self._by_uuid[node, uuid] = row
        if bdf:
            self.bdf_of[row] = bdf
            self._by_bdf[node, bdf] = row
        return Place(row, named, own is not None, replaced, absorbed, displaced)

    def find_all(self, node: str, gpus: Sequence[Gpu]) -> list[Place]:
        """`find` for GPUs that are listed together, which all end in rows of their own.

        The better known come first: a GPU that has moved leaves its slot before another one is found there.
        """

        def familiarity(at: int) -> tuple[bool, bool, bool]:
            gpu = gpus[at]
            return not gpu.uuid, not gpu.bdf, (node, gpu.uuid) not in self._by_uuid

        places = {at: self.find(node, gpus[at].uuid, gpus[at].bdf) for at in sorted(range(len(gpus)), key=familiarity)}
        return [places[at] for at in range(len(gpus))]

    def check(self, node: str, gpus: Sequence[Gpu]) -> None:
        """Raises ValueError where one GPU would be listed twice: by its UUID, and by the slot it is known to be in."""
        by_uuid = {gpu.uuid for gpu in gpus if not gpu.bdf}
        for gpu in gpus:
            slot = None if gpu.uuid else self._by_bdf.get((node, gpu.bdf))
            if slot is not None and self.uuid_of[slot] in by_uuid:
                raise ValueError(f"one GPU is listed twice: as {self.uuid_of[slot]} and as {gpu.bdf}")

    def retire(self, row: int) -> None:
        """The row stands for no GPU any more."""
        self._by_uuid.pop((self.node_of[row], self.uuid_of[row]), None)
        self.uuid_of[row] = self.bdf_of[row] = ""

    def known(self, node: str, uuid: str, bdf: str) -> int | None:
        """The row of a GPU that was seen before; a slot does not answer for a UUID that it is known not to hold."""
        row = self._by_uuid.get((node, uuid)) if uuid else None
        if row is None and bdf:
            row = self._by_bdf.get((node, bdf))
            if row is not None and uuid and self.uuid_of[row]:
                row = None
        return row

    def rows_of(self, node: str) -> list[int]:
        """The rows of the node's GPUs, rising."""
        return [row for row in self._rows.get(node, ()) if self.uuid_of[row] or self.bdf_of[row]]

    def save(self) -> dict[str, Any]:
        nodes = [
            [n.name, n.cluster, n.epoch, n.seq, n.fault_seq, n.shift_ms, n.last_ms, n.boot, n.driver_load]
            for _, n in sorted(self.nodes.items())
        ]
        return {"nodes": nodes, "rows": [self.node_of, self.uuid_of, self.bdf_of]}

    def load(self, saved: dict[str, Any]) -> None:
        for name, cluster, epoch, seq, fault_seq, shift_ms, last_ms, boot, driver_load in saved["nodes"]:
            state = self.node(name)
            state.cluster = cluster
            state.epoch, state.seq, state.fault_seq = epoch, seq, fault_seq
            state.shift_ms, state.last_ms = shift_ms, last_ms
            state.boot, state.driver_load = boot, driver_load
        self.node_of, self.uuid_of, self.bdf_of = saved["rows"]
        for row, (node, uuid, bdf) in enumerate(zip(self.node_of, self.uuid_of, self.bdf_of, strict=True)):
            self._rows.setdefault(node, []).append(row)
            if uuid:
                self._by_uuid[node, uuid] = row
            if bdf:
                self._by_bdf[node, bdf] = row


def check_distinct(gpus: Sequence[Gpu]) -> None:
    """Raises ValueError unless every GPU has a UUID or a BDF, and no two have the same."""
    for gpu in gpus:
        if not (gpu.uuid or gpu.bdf):
            raise ValueError("every GPU needs a UUID or a BDF")
    for names in ([gpu.uuid for gpu in gpus if gpu.uuid], [gpu.bdf for gpu in gpus if gpu.bdf]):
        if len(set(names)) != len(names):
            raise ValueError(f"two GPUs of one node have the same UUID or BDF: {max(names, key=names.count)!r}")
