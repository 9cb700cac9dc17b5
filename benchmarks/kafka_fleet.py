"""A fleet's records as bytes, made fast enough to load a broker from a fraction of a core.

A frame is 5 ticks x 8 GPUs x 20 fields, as in `benchmarks.fleets`. What is a node's own is encoded once; a frame
is put together from pieces. Gauges are noisy, from a pool larger than a batch: compression finds no more in them
than it would in real ones.
"""

from __future__ import annotations

import random
import struct
from array import array

from benchmarks.fleets import GAUGES, GPUS, MOVING, STILL, TICKS
from schemas import frames, records
from schemas.fields import GPU_TEMP, GPU_TEMP_MARGIN, MEMORY_TEMP, POWER
from schemas.partitions import partition_of
from schemas.records import Gpu
from schemas.xid import lookup

POOL = 1_024  # different sets of gauges
NOISE = {POWER: 50, MEMORY_TEMP: 2, GPU_TEMP: 2, GPU_TEMP_MARGIN: 2}
SEQ = 1 << 40  # encoded as long as any that follows it, like times in ms
FELL_OFF_THE_BUS = 79


class Node:
    """Key, and the two pieces of its frames that never change: before the number, and before the ticks."""

    __slots__ = ("gpus", "head", "key", "middle", "name")

    def __init__(self, number: int) -> None:
        self.name = f"node-{number:06d}"
        self.key = self.name.encode()
        self.gpus = [Gpu(uuid=f"GPU-{number:06d}-{at}", bdf=f"0000:{at:02x}:00") for at in range(GPUS)]


class Fleet:
    """nodes: by the partition that their records belong to."""

    def __init__(self, gpus: int, partitions: int, *, moving: bool = False) -> None:
        self.gpus = gpus
        self.nodes: list[list[Node]] = [[] for _ in range(partitions)]
        self._moving = moving
        self._rest: dict[int, bytes] = {}
        self._turn = 0
        template = self._template(0)
        for number in range(gpus // GPUS):
            node = Node(number)
            template.node, template.gpus = node.name, node.gpus
            node.head, node.middle, _ = _cut(frames.encode(template))
            self.nodes[partition_of(node.name, partitions)].append(node)
        self._before_gauges, self._gauges = self._pool(template)

    def frames(self, nodes: list[Node], number: int, ms: int) -> list[bytes]:
        """The frame with that number of each of `nodes`; its last tick is at `ms`."""
        seq = struct.pack(">Q", SEQ + number)
        ticks = b"".join(b"\xcf" + struct.pack(">Q", ms - 1000 * (TICKS - 1 - tick)) for tick in range(TICKS))
        middle = ticks + self._before_gauges
        rest = self._after_gauges(number)
        pool, turn = self._gauges, self._turn
        self._turn += len(nodes)
        return [
            b"".join((node.head, seq, node.middle, middle, pool[(turn + at) % POOL], rest))
            for at, node in enumerate(nodes)
        ]

    def _after_gauges(self, number: int) -> bytes:
        """The counters: the same of all nodes, so made once a round."""
        number = number if self._moving else 0
        if number not in self._rest:
            template = self._template(number)
            _, _, tail = _cut(frames.encode(template))
            self._rest = {number: tail.partition(template.gauge_values)[2]}
        return self._rest[number]

    def _template(self, number: int) -> frames.TelemetryFrame:
        columns: dict[int, list[float | None]] = {field: [value] * GPUS * TICKS for field, value in GAUGES.items()}
        columns |= {field: [0] * GPUS for field in STILL}
        for field in MOVING:
            # A step of a million is beyond every limit from the first frame on: scores settle, counters go on.
            counts = [1_000_000.0 * (number * TICKS + tick) for tick in range(TICKS) for _ in range(GPUS)]
            columns[field] = [*counts] if self._moving else [0] * GPUS
        gpus = Node(0).gpus
        return frames.build(node="", seq=SEQ, gpus=gpus, ticks=[SEQ + tick for tick in range(TICKS)], columns=columns)

    def _pool(self, template: frames.TelemetryFrame) -> tuple[bytes, list[bytes]]:
        _, _, tail = _cut(frames.encode(template))
        before = tail.partition(template.gauge_values)[0]
        chance = random.Random(1)
        pool = []
        for _ in range(POOL):
            values = array("f")
            for field in template.gauges:
                spread = NOISE.get(field, 0)
                values.extend(GAUGES[field] + chance.randint(-spread, spread) for _ in range(GPUS * TICKS))
            pool.append(values.tobytes())
        return before, pool


def _cut(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """What comes before its number, between that and its ticks, and behind them."""
    head, _, rest = frame.partition(struct.pack(">Q", SEQ))
    first = rest.index(b"\xcf" + struct.pack(">Q", SEQ))
    return head, rest[:first], rest[first + 9 * TICKS :]


def fault(node: Node, at: int, ms: int, number: int = 0, code: int = FELL_OFF_THE_BUS) -> bytes:
    """The kernel prints this Xid of GPU number `at` of `node`; number: of the node's faults before."""
    return records.encode(
        records.KernelFault(
            ts=ms,
            node=node.name,
            seq=number,
            fault="xid",
            code=code,
            bdf=node.gpus[at].bdf,
            source="kmsg",
            raw=f"NVRM: Xid (PCI:{node.gpus[at].bdf}): {code}, {lookup(code).meaning}",
        )
    )
