"""What orders to nodes need to know: the boot of each, the sequence of its last order, who cannot be reset alone."""

from __future__ import annotations

import msgspec

from schemas.products import resets_alone
from schemas.records import Inventory


class Node(msgspec.Struct, omit_defaults=True):
    """boot: id of the running one, "" = not known. sequence: of its last order.

    tied: UUIDs of its GPUs that cannot be reset without others; sorted.
    """

    boot: str = ""
    sequence: int = 0
    tied: tuple[str, ...] = ()


class Nodes:
    """All nodes by name."""

    def __init__(self, known: dict[str, Node] | None = None) -> None:
        self._nodes = known or {}

    def save(self) -> dict[str, Node]:
        return {name: self._nodes[name] for name in sorted(self._nodes)}

    def take(self, inventory: Inventory) -> bool:
        """Note what a node lists, and whether it has been started anew since it did so last.

        Its log tells which is the last: the clock of a node that has just been started may be years behind.
        """
        node = self._nodes.setdefault(inventory.node, Node())
        tied = {gpu.uuid for gpu in inventory.gpus if gpu.uuid and not resets_alone(gpu.model, bool(gpu.peers))}
        node.tied = tuple(sorted(tied))
        before, node.boot = node.boot, inventory.boot or node.boot
        return bool(before) and node.boot != before

    def boot(self, node: str) -> str:
        known = self._nodes.get(node)
        return "" if known is None else known.boot

    def is_tied(self, node: str, uuid: str) -> bool:
        known = self._nodes.get(node)
        return known is not None and uuid in known.tied

    def next_sequence(self, node: str, now_ms: int) -> int:
        """What the next order to it shall bear: the time, or more, as each must be above all before."""
        known = self._nodes.get(node)
        return max(now_ms, known.sequence + 1) if known else now_ms

    def ordered(self, node: str, sequence: int) -> None:
        known = self._nodes.setdefault(node, Node())
        known.sequence = max(known.sequence, sequence)
