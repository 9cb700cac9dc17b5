"""What Slurm calls the nodes that we know by their host names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class NodeNames(NamedTuple):
    """named: NodeName by our name, where a rule does not do. suffix: of our names that Slurm's lack: `.example.com`."""

    named: Mapping[str, str]
    suffix: str

    def of(self, node: str) -> str:
        return self.named.get(node) or node.removesuffix(self.suffix)
