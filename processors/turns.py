"""Records wait for their turn: the k-th record of every node in a batch goes with the k-th of all others.

So frames of one shape go through the signals together, and no node's later record overtakes an earlier one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.frames import Frames
from processors.judges import Judges
from processors.layout import Shape
from processors.node_output import Cause
from processors.node_state import NodeState
from processors.stream_clock import StreamClock
from processors.waves import unsound
from schemas import records
from schemas.log import Record

Array = npt.NDArray[Any]


class Turn:
    """The k-th record of every node in a batch: frames by shape, and everything else.

    Of each frame the parts that make up `Frames`, one after the other in one list: objects of their own would keep
    the garbage collector busy.
    """

    def __init__(self) -> None:
        self.frames: defaultdict[Shape, list[Any]] = defaultdict(list)
        self.others: list[Callable[[], None]] = []


class Turns:
    """The turns of one batch. Which GPU has which row, and a node's cluster, hold for all that waits."""

    def __init__(self, clock: StreamClock, judges: Judges) -> None:
        self.clock = clock
        self.judges = judges
        self.out = judges.out
        self._turns: list[Turn] = []
        self._waiting: list[NodeState] = []

    def next(self, node: NodeState) -> Turn:
        """Where the node's next record waits: behind all that the node has said before it."""
        number = node.round
        if number == 0:
            self._waiting.append(node)
        if number == len(self._turns):
            self._turns.append(Turn())
        node.round = number + 1
        return self._turns[number]

    def flush(self) -> None:
        """Give every waiting record its turn."""
        turns, self._turns = self._turns, []
        for node in self._waiting:
            node.round = 0
        self._waiting.clear()
        for turn in turns:
            for shape, waiting in turn.frames.items():
                self._frames(shape, waiting)
            for handle in turn.others:
                handle()
        self.out.settle()

    def _frames(self, shape: Shape, waiting: list[Any]) -> None:
        frames = Frames.of(shape, waiting)
        wrong = unsound(shape, frames)
        if wrong:
            for number, why in wrong.items():
                self.out.dead_letter(frames.records[number], why)
            frames = frames.without(wrong)
        if frames.records:
            self.judges.frames(shape, frames)

    def rows(self, node: NodeState, gpus: Sequence[records.Gpu], record: Record) -> Array:
        """The rows of GPUs that a record names, looked up in the order of the records whatever their turn."""
        rows = [self.judges.roster.settled(node.name, gpu.uuid, gpu.bdf) for gpu in gpus]
        if None not in rows:
            return np.array(rows, "i8")
        if node.round:
            self.flush()  # what waits still speaks of the GPUs before
        cause = Cause(record.offset, record.ts, -1)
        return self.judges.arrive(node.name, gpus, cause, self.clock.now_ms, self.clock.credit_ms)

    def join(self, node: NodeState, cluster: str) -> None:
        """The node is of another cluster from now on."""
        if node.round:
            self.flush()
        node.cluster = cluster
