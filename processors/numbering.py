"""What a node has said before: each agent (epoch) numbers its faults and its telemetry apart."""

from __future__ import annotations

from processors.node_state import NodeState


def fresh(node: NodeState, epoch: int, seq: int, counts: dict[str, int], *, faults: bool) -> bool:
    """Whether a record is news, which the node then is known to have said. counts: of what is late, double, missing."""
    if epoch < node.epoch:
        counts["late"] += 1
        return False
    if epoch > node.epoch:
        node.anchor(epoch)
    newest = node.fault_seq if faults else node.seq
    if seq <= newest:
        counts["duplicates"] += 1
        return False
    if newest >= 0:
        counts["missing"] += seq - newest - 1
    if faults:
        node.fault_seq = seq
    else:
        node.seq = seq
    return True
