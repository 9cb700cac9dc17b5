"""The node stage: observations of nodes -> findings of signals -> score, condition and reasons of every GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors import checkpoints
from processors import policy as policies
from processors.fault_intake import Line
from processors.incident import NOBODY
from processors.ingest import (
    AHEAD_MS,
    Frame,
    Frames,
    Layout,
    NodeState,
    Roster,
    Seat,
    Shape,
    check_sizes,
    decode_frame,
    gpu_list,
    read_layout,
)
from processors.judges import GRID_MS, Judges
from processors.node_output import Cause
from processors.observed import FOR_CLUSTER, OF_NODE, check_key, named, observed
from processors.signal import Report, Signal, discover
from processors.versions import NOT_UNDERSTOOD, VERSION, check_version, complaint
from processors.waves import TICKS_FALL, unsound
from schemas import records
from schemas.log import Checkpoint, Output, Record
from schemas.partitions import partition_of

Array = npt.NDArray[Any]

CREDIT_MS = 2_000  # the most that one gap of the stream clock counts towards silence
STATE_VERSION = 1

# What was dropped or corrected; published with the stage's ticks.
COUNTED = ("duplicates", "late", "missing", "clock_corrections", "double_reports", "dead_letters")


class _Then(NamedTuple):
    """How things stood when a record came, which gets its turn later.

    clock_ms, credit_ms: the stream clock, and the credited time. shift_ms: what to subtract from the node's times.
    rows: of the GPUs it names. seat: of the node's frames before it.
    """

    clock_ms: int
    credit_ms: int
    shift_ms: int
    rows: Array
    seat: Seat


class _Turn:
    """The k-th record of every node in a batch: frames by shape, and everything else.

    Of each frame the parts that make up `Frames`, one after the other in one list: objects of their own would keep
    the garbage collector busy.
    """

    def __init__(self) -> None:
        self.frames: defaultdict[Shape, list[Any]] = defaultdict(list)
        self.others: list[Callable[[], None]] = []


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
        self.clock_ms = 0
        self.credit_ms = 0
        self.next_timer_ms = 0
        self.next_offset = 0
        self.counts = dict.fromkeys(COUNTED, 0)
        self._turns: list[_Turn] = []
        self._waiting: list[NodeState] = []
        self._layouts: dict[tuple[bytes, bytes], Layout] = {}
        self._shapes: dict[tuple[Layout, int, int], Shape] = {}

    # --- the task --------------------------------------------------------------------------------------------

    def step(self, batch: Sequence[Record]) -> list[Output]:
        for record in batch:
            ts = record.ts
            if ts > self.clock_ms:
                if ts >= self.next_timer_ms:
                    self._timer(record)
                gap = ts - self.clock_ms if self.clock_ms else 0
                self.credit_ms += gap if gap < CREDIT_MS else CREDIT_MS
                self.clock_ms = ts
            if record.kind == "telemetry":
                self._telemetry(record)
            else:
                self._other(record)
        if batch:
            self.next_offset = batch[-1].offset + 1
        self._flush()
        return self.out.take()

    def checkpoint(self) -> Checkpoint:
        state = {
            "roster": self.roster.save(),
            "judges": self.judges.save(),
            "faults": self.faults.save(),
            "clock": [self.clock_ms, self.credit_ms, self.next_timer_ms],
            "counts": self.counts,
        }
        return checkpoints.pack(STATE_VERSION, self.next_offset, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoints.unpack(STATE_VERSION, checkpoint)
        self.next_offset = checkpoint.next_offset
        self.roster.load(state["roster"])
        self.judges.load(state["judges"])
        self.faults.load(state["faults"])
        self.clock_ms, self.credit_ms, self.next_timer_ms = state["clock"]
        self.counts |= state["counts"]

    # --- time ------------------------------------------------------------------------------------------------

    def _timer(self, record: Record) -> None:
        """The stream clock passes a point of the grid; what was before `record` is judged at the last such point.

        Once for however many points have passed: nobody saw anything in between.
        """
        grid_ms = record.ts - record.ts % GRID_MS
        if self.next_timer_ms:
            self._flush()
            cause = Cause(record.offset, record.ts, -1)
            credit_ms = self.credit_ms + min(grid_ms - self.clock_ms, CREDIT_MS)
            self.judges.timer(cause, grid_ms, credit_ms)
            self.faults.timer(cause, grid_ms)
            self.out.tick(cause, grid_ms, self.counts)
            self.out.settle()
        self.next_timer_ms = grid_ms + GRID_MS

    # --- intake ----------------------------------------------------------------------------------------------

    def _telemetry(self, record: Record) -> None:
        """The only code that runs once per frame: kept short, and without calls where nothing is new."""
        try:
            frame = decode_frame(record.value)
            if frame.v != VERSION or frame.node != record.key:
                check_version(frame.v)
                check_key(record, frame.node)
            node = self.roster.nodes.get(frame.node) or self._node(frame.node)
            seat, ticks = node.seat, frame.ticks
            gauge_values, counter_values, change_at = frame.gauge_values, frame.counter_values, frame.change_at
            news = None
            if frame.gpus != node.gpus_raw or frame.gauges != node.gauges_raw or frame.counters != node.counters_raw:
                news = self._news(node, frame)
            sizes = len(gauge_values), len(counter_values), len(ticks)
            if news or sizes != seat.sizes or change_at:
                layout, gpus = news or (seat.layout, None)
                check_sizes(frame, layout, len(seat.rows) if gpus is None else len(gpus))
            first, last = ticks[0], ticks[-1]
            if first > last:
                raise ValueError(TICKS_FALL)
        except NOT_UNDERSTOOD as error:
            self._dead_letter(record, complaint(record, error))
            return
        if frame.seq == node.seq + 1 and frame.epoch == node.epoch:
            node.seq = frame.seq
        elif not self._fresh(node, frame.epoch, frame.seq, faults=False):
            return
        if news:
            seat = self._take_seat(node, frame, news, record)
        if sizes != seat.sizes:
            seat.sizes, seat.shape = sizes, self._shape(seat, len(ticks))
        if frame.cluster != node.cluster:
            self._join(node, frame.cluster)
        shift_ms = node.shift_ms
        if first - shift_ms > node.last_ms and last - shift_ms <= record.ts + AHEAD_MS:
            node.last_ms = last - shift_ms
        elif node.place(first, last, record.ts):
            self.counts["clock_corrections"] += 1
        number = node.round
        if number == 0:
            self._waiting.append(node)
        if number == len(self._turns):
            self._turns.append(_Turn())
        node.round = number + 1
        parts = ticks, gauge_values, counter_values, change_at, frame.change_values
        waiting = self._turns[number].frames[seat.shape]
        waiting += *parts, record, seat, node.shift_ms, self.clock_ms, self.credit_ms

    def _news(self, node: NodeState, frame: Frame) -> tuple[Layout, list[records.Gpu] | None]:
        """The layout of a frame that names other fields or GPUs than the one before, and its GPUs if they differ.

        Nodes of one kind share a layout, so that their frames go through the signals together.
        """
        raw = bytes(frame.gauges), bytes(frame.counters)
        if raw not in self._layouts:
            self._layouts[raw] = read_layout(*raw, self.judges.rows.wanted)
        gpus = None if frame.gpus == node.gpus_raw else gpu_list(frame.gpus)
        if gpus is not None:
            self.roster.check(node.name, gpus)
        return self._layouts[raw], gpus

    def _take_seat(
        self, node: NodeState, frame: Frame, news: tuple[Layout, list[records.Gpu] | None], record: Record
    ) -> Seat:
        layout, gpus = news
        rows = node.seat.rows if gpus is None else self._rows(node, gpus, record)
        node.seat = Seat(layout, rows)
        node.gpus_raw, node.gauges_raw, node.counters_raw = frame.gpus, frame.gauges, frame.counters
        return node.seat

    def _shape(self, seat: Seat, ticks: int) -> Shape:
        key = seat.layout, ticks, len(seat.rows)
        if key not in self._shapes:
            self._shapes[key] = Shape(*key)
        return self._shapes[key]

    def _fresh(self, node: NodeState, epoch: int, seq: int, *, faults: bool) -> bool:
        """Whether the node has not said this before; each agent (epoch) counts faults and telemetry apart."""
        if epoch < node.epoch:
            self.counts["late"] += 1
            return False
        if epoch > node.epoch:
            node.anchor(epoch)
        newest = node.fault_seq if faults else node.seq
        if seq <= newest:
            self.counts["duplicates"] += 1
            return False
        if newest >= 0:
            self.counts["missing"] += seq - newest - 1
        if faults:
            node.fault_seq = seq
        else:
            node.seq = seq
        return True

    def _turn(self, node: NodeState) -> _Turn:
        """Where the node's next record waits: behind all that the node has said before it."""
        if node.round == 0:
            self._waiting.append(node)
        if node.round == len(self._turns):
            self._turns.append(_Turn())
        node.round += 1
        return self._turns[node.round - 1]

    def _other(self, record: Record) -> None:
        try:
            observation = observed(record)
            gpus = named(observation)
            node = self._node(observation.node) if observation.node else None
        except NOT_UNDERSTOOD as error:
            self._dead_letter(record, complaint(record, error))
            return
        if isinstance(observation, records.PolicyChange):
            self._flush()
            self._change_policy(record, observation)
        elif node and isinstance(observation, records.Observation):
            numbered = observation.epoch or observation.seq
            if not numbered or self._fresh(node, observation.epoch, observation.seq, faults=True):
                self._later(node, record, observation, gpus)
        elif node and isinstance(observation, records.Operator | records.Placement):
            self._later(node, record, observation, gpus)

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
            self._join(node, observation.cluster)
        rows = self._rows(node, gpus, record)
        then = _Then(self.clock_ms, self.credit_ms, node.shift_ms, rows, node.seat)
        handle: Callable[[Record, NodeState, Any, _Then], None]
        if isinstance(observation, records.KernelFault):
            handle = self._kernel_fault
        elif isinstance(observation, records.Inventory):
            handle = self._inventory
        elif isinstance(observation, records.Operator):
            handle = self._operator
        elif isinstance(observation, records.Placement):
            handle = self._placement
        else:
            handle = self._report
        self._turn(node).others.append(lambda: handle(record, node, observation, then))

    def _flush(self) -> None:
        """Give every waiting record its turn; no node's later record overtakes an earlier one."""
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
                self._dead_letter(frames.records[number], why)
            frames = frames.without(wrong)
        if frames.records:
            self.judges.frames(shape, frames)

    def _rows(self, node: NodeState, gpus: Sequence[records.Gpu], record: Record) -> Array:
        """The rows of GPUs that a record names, looked up in the order of the records whatever their turn."""
        rows = [self.roster.settled(node.name, gpu.uuid, gpu.bdf) for gpu in gpus]
        if None not in rows:
            return np.array(rows, "i8")
        if node.round:
            self._flush()  # what waits still speaks of the GPUs before
        cause = Cause(record.offset, record.ts, -1)
        return self.judges.arrive(node.name, gpus, cause, self.clock_ms, self.credit_ms)

    def _join(self, node: NodeState, cluster: str) -> None:
        if node.round:
            self._flush()
        node.cluster = cluster

    # --- everything else -------------------------------------------------------------------------------------

    def _inventory(self, record: Record, node: NodeState, inventory: records.Inventory, then: _Then) -> None:
        before = node.boot, node.driver_load
        restarted = any(before) and (inventory.boot, inventory.driver_load) != before
        if restarted:
            self.judges.counters.restart(then.rows)
            then.seat.told = None
        node.boot, node.driver_load = inventory.boot, inventory.driver_load
        known = np.array(self.roster.rows_of(node.name), "i8")
        self.judges.presence.listed(then.rows, np.setdiff1d(known, then.rows), then.credit_ms)
        self.judges.incidents.listed(inventory)
        self.out.inventory(record, inventory)
        cause, ts = Cause(record.offset, record.ts), min(inventory.ts - then.shift_ms, record.ts + AHEAD_MS)
        self.judges.listed(cause, then.rows, inventory.gpus, ts, then.clock_ms, restarted=restarted)
        if any(gpu.model or gpu.peers for gpu in inventory.gpus):  # else it tells groups nothing
            self.out.forward(record, inventory)
        self._report(record, node, inventory, then)

    def _report(self, record: Record, node: NodeState, observation: records.Observation, then: _Then) -> None:
        """What signals may read, and the cluster stage."""
        if isinstance(observation, FOR_CLUSTER):
            self.out.forward(record, observation)
        rows = np.array(self.roster.rows_of(node.name), "i8") if isinstance(observation, OF_NODE) else then.rows
        if isinstance(observation, records.SourceStatus):
            self.judges.presence.told(rows, observation, then.credit_ms)
        if rows.size:
            ts = min(observation.ts - then.shift_ms, record.ts + AHEAD_MS)
            listed = {row: at for at, row in enumerate(then.rows.tolist())}
            entry = np.array([listed.get(row, -1) for row in rows.tolist()], "i8")
            report = Report(ts, then.clock_ms, observation, entry)
            self.judges.report(Cause(record.offset, record.ts), rows, report)
            if isinstance(observation, records.Diagnostic) and observation.result == "pass" and observation.level >= 2:
                self.faults.vouched(Cause(record.offset, record.ts), int(rows[0]), then.clock_ms, operator=False)

    def _placement(self, record: Record, node: NodeState, placement: records.Placement, then: _Then) -> None:
        self.out.forward(record, placement)

    def _kernel_fault(self, record: Record, node: NodeState, fault: records.KernelFault, then: _Then) -> None:
        cause = Cause(record.offset, record.ts)
        if fault.fault not in _FAULTS or (fault.fault == "xid" and fault.code is None):
            self._dead_letter(record, "a line that looks like a fault could not be parsed", fault.raw.encode())
            return
        ts = min(fault.ts - then.shift_ms, record.ts + AHEAD_MS)
        row = int(then.rows[0]) if then.rows.size else NOBODY
        if not self.faults.take(Line(cause, row, fault, ts, then.clock_ms)):
            self.counts["double_reports"] += 1

    def _operator(self, record: Record, node: NodeState, operator: records.Operator, then: _Then) -> None:
        self.out.forward(record, operator)
        row = self.roster.known(node.name, operator.uuid, operator.bdf)
        if operator.action in ("maintenance", "end-maintenance"):
            self._maintenance(record, node, operator, then)
        if operator.action == "restore" and row is not None:
            self.judges.restore_gpu(Cause(record.offset, record.ts), row, then.clock_ms)
            self.faults.vouched(Cause(record.offset, record.ts), row, then.clock_ms, operator=True)

    def _maintenance(self, record: Record, node: NodeState, word: records.Operator, then: _Then) -> None:
        row = self.roster.known(node.name, word.uuid, word.bdf)
        whole = not (word.uuid or word.bdf)
        rows = np.array(self.roster.rows_of(node.name) if whole else [] if row is None else [row], "i8")
        if not rows.size:
            self._dead_letter(
                record, f"{word.action} of what is not known: {node.name} {word.uuid or word.bdf}".rstrip()
            )
        elif word.action == "end-maintenance":
            self.judges.presence.end_plan(rows, then.credit_ms)
        elif word.until > then.clock_ms:
            self.judges.presence.plan(rows, word.until)
        else:
            why = f"maintenance until {word.until}, which is past at {then.clock_ms}; give a later time, in ms"
            self._dead_letter(record, why)

    def _change_policy(self, record: Record, change: records.PolicyChange) -> None:
        try:
            policy = policies.from_change(change)
        except (ValueError, OverflowError) as error:
            self._dead_letter(record, f"policy {change.id}: {error}")
            return
        self.out.forward(record, change)
        self.judges.apply(policy)
        self.judges.timer(Cause(record.offset, record.ts), self.clock_ms, self.credit_ms, new_policy=True)

    def _dead_letter(self, record: Record, why: str, data: bytes | None = None) -> None:
        self.counts["dead_letters"] += 1
        self.out.dead_letter(record, why, data)


_FAULTS = ("xid", "sxid", "bus-loss")
