"""The node stage: observations of nodes -> findings of signals -> score, condition and reasons of every GPU.

A frame goes through `telemetry`, any other observation through `observed` and `observations`; both wait for their turn
(`turns`), which puts them to the signals (`judges`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from processors import checkpoints
from processors import policy as policies
from processors.heard import Heard
from processors.judges import GRID_MS, Judges
from processors.node_output import Cause
from processors.node_state import NodeState
from processors.numbering import fresh
from processors.observations import Observations, Then
from processors.observed import named, observed
from processors.roster import Roster
from processors.signal import Signal, discover
from processors.stream_clock import CREDIT_MS, StreamClock
from processors.telemetry import Telemetry
from processors.turns import Turns
from processors.versions import NOT_UNDERSTOOD, complaint
from schemas import records
from schemas.log import Checkpoint, Output, Record
from schemas.partitions import partition_of

STATE_VERSION = 2


class NodeTask:
    """One partition of the node stage (`processors.task.Task`).

    partitions: how many there are, to refuse nodes of another one; None: whoever comes belongs here.
    """

    def __init__(
        self, partition: int = 0, signals: tuple[Signal, ...] | None = None, partitions: int | None = None
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.roster = Roster()
        self.judges = Judges(discover() if signals is None else signals, self.roster)
        self.faults = self.judges.faults
        self.out = self.judges.out
        self.out.partition = partition
        self.clock = StreamClock()
        self.next_timer_ms = 0
        self.next_offset = 0
        self.turns = Turns(self.clock, self.judges)
        self.telemetry = Telemetry(self.clock, self.judges, self.turns, self._node)
        self.observations = Observations(self.judges)
        self.heard = Heard()

    # --- the task --------------------------------------------------------------------------------------------

    def step(self, batch: Sequence[Record]) -> list[Output]:
        clock, take_frame = self.clock, self.telemetry.take
        for record in batch:
            ts = record.ts
            if ts > clock.now_ms:
                if ts >= self.next_timer_ms:
                    self._timer(record)
                clock.pass_to(ts)
            if record.kind == "telemetry":
                take_frame(record)
            else:
                self._other(record)
        if batch:
            self.next_offset = batch[-1].offset + 1
        self.turns.flush()
        return self.out.take()

    def checkpoint(self) -> Checkpoint:
        state = {
            "roster": self.roster.save(),
            "judges": self.judges.save(),
            "faults": self.faults.save(),
            "clock": [self.clock.now_ms, self.clock.credit_ms, self.next_timer_ms],
            "counts": self.out.counts,
            "heard": self.heard.save(),
        }
        return checkpoints.pack(STATE_VERSION, self.next_offset, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoints.unpack(STATE_VERSION, checkpoint)
        self.next_offset = checkpoint.next_offset
        self.roster.load(state["roster"])
        self.judges.load(state["judges"])
        self.faults.load(state["faults"])
        self.clock.now_ms, self.clock.credit_ms, self.next_timer_ms = state["clock"]
        self.out.counts |= state["counts"]
        self.heard = Heard(map(tuple, state.get("heard", ())))

    # --- time ------------------------------------------------------------------------------------------------

    def _timer(self, record: Record) -> None:
        """The stream clock passes a point of the grid; what was before `record` is judged at the last such point.

        Once for however many points have passed: nobody saw anything in between.
        """
        grid_ms = record.ts - record.ts % GRID_MS
        if self.next_timer_ms:
            self.turns.flush()
            cause = Cause(record.offset, record.ts, -1)
            credit_ms = self.clock.credit_ms + min(grid_ms - self.clock.now_ms, CREDIT_MS)
            self.judges.timer(cause, grid_ms, credit_ms)
            self.faults.timer(cause, grid_ms)
            self.out.tick(cause, grid_ms)
            self.out.settle()
        self.next_timer_ms = grid_ms + GRID_MS

    # --- records other than frames -----------------------------------------------------------------------------

    def _other(self, record: Record) -> None:
        try:
            observation = observed(record)
            gpus = named(observation)
            node = self._node(observation.node) if observation.node else None
        except NOT_UNDERSTOOD as error:
            self.out.dead_letter(record, complaint(record, error))
            return
        if isinstance(observation, records.PolicyChange):
            self.turns.flush()
            self._change_policy(record, observation)
        elif node and isinstance(observation, records.Observation):
            numbered = observation.epoch or observation.seq
            if not numbered or fresh(node, observation.epoch, observation.seq, self.out.counts, faults=True):
                self._later(node, record, observation, gpus)
        elif isinstance(observation, records.Operator):
            self._operator(record, node, observation)
        elif node and isinstance(observation, records.Placement):
            self._later(node, record, observation, gpus)

    def _operator(self, record: Record, node: NodeState | None, word: records.Operator) -> None:
        """What is not to be believed changes nothing; a word on more than one node is for the cluster stage alone."""
        why = self.heard.refusal(word, self.judges.policy.values.cluster.operators, record.ts)
        if why:
            self.out.dead_letter(record, f"{word.action} is refused: {why}")
        elif node is None:
            self.out.forward(record, word)
        else:
            self._later(node, record, word, ())

    def _node(self, name: str) -> NodeState:
        """What is known of a node. Raises ValueError: it is not one of this partition's."""
        known = self.roster.nodes.get(name)
        if known:
            return known
        if self.partitions and partition_of(name, self.partitions) != self.partition:
            home = partition_of(name, self.partitions)
            raise ValueError(f"node {name!r} belongs to partition {home} of {self.partitions}, not {self.partition}")
        return self.roster.node(name)

    def _later(self, node: NodeState, record: Record, observation: Any, gpus: Sequence[records.Gpu]) -> None:
        if gpus and observation.cluster != node.cluster:
            self.turns.join(node, observation.cluster)
        rows = self.turns.rows(node, gpus, record)
        then = Then(self.clock.now_ms, self.clock.credit_ms, node.shift_ms, rows, node.seat)
        self.turns.next(node).others.append(partial(self.observations.take, record, node, observation, then))

    def _change_policy(self, record: Record, change: records.PolicyChange) -> None:
        try:
            policy = policies.from_change(change)
        except (ValueError, OverflowError) as error:
            self.out.dead_letter(record, f"policy {change.id}: {error}")
            return
        self.out.forward(record, change)
        self.judges.apply(policy)
        self.judges.timer(Cause(record.offset, record.ts), self.clock.now_ms, self.clock.credit_ms, new_policy=True)
