"""The node stage: observations of nodes -> findings of signals -> score, condition and reasons of every GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from processors import checkpoints
from processors import policy as policies
from processors.ingest import (
    NO_SIZES,
    Frame,
    Layout,
    NodeState,
    Roster,
    check_distinct,
    check_numbers,
    check_sizes,
    decode_frame,
    gpu_list,
    read_layout,
)
from processors.judges import GRID_MS, Judges
from processors.kernel_faults import FaultLog
from processors.node_output import Cause
from processors.signal import Event, Signal, discover
from processors.waves import TICKS_FALL, Placed, unsound
from schemas import recording, records
from schemas.log import Checkpoint, Output, Record
from schemas.xid import lookup, of_switch

Array = npt.NDArray[Any]

CREDIT_MS = 2_000  # the most that one gap of the stream clock counts towards silence
AHEAD_MS = 5_000  # how far an event's time may lie ahead of its append time
STATE_VERSION = 1
FELL_OFF_THE_BUS = 79

# What was dropped or corrected; published with the stage's ticks.
COUNTED = ("duplicates", "late", "missing", "clock_corrections", "double_reports", "dead_letters")


class _Then(NamedTuple):
    """How things stood when a record came, which gets its turn later.

    clock_ms: the stream clock. shift_ms: what to subtract from the node's times. rows: of the GPUs it names.
    """

    clock_ms: int
    shift_ms: int
    rows: Array


class _Turn:
    """The k-th record of every node in a batch: frames by layout, ticks and GPUs, and everything else."""

    def __init__(self) -> None:
        self.frames: dict[tuple[Layout, int, int], list[Placed]] = {}
        self.others: list[Callable[[], None]] = []


class NodeTask:
    """One partition of the node stage (`processors.task.Task`)."""

    def __init__(self, partition: int = 0, signals: tuple[Signal, ...] | None = None) -> None:
        self.partition = partition
        self.roster = Roster()
        self.faults = FaultLog()
        self.judges = Judges(discover() if signals is None else signals, self.roster, self.faults)
        self.out = self.judges.out
        self.clock_ms = 0
        self.credit_ms = 0
        self.next_timer_ms = 0
        self.next_offset = 0
        self.counts = dict.fromkeys(COUNTED, 0)
        self._turns: list[_Turn] = []
        self._waiting: list[NodeState] = []
        self._layouts: dict[tuple[bytes, bytes], Layout] = {}

    # --- the task --------------------------------------------------------------------------------------------

    def step(self, batch: Sequence[Record]) -> list[Output]:
        for record in batch:
            if record.ts > self.clock_ms:
                if record.ts >= self.next_timer_ms:
                    self._timer(record)
                gap = record.ts - self.clock_ms if self.clock_ms else 0
                self.credit_ms += gap if gap < CREDIT_MS else CREDIT_MS
                self.clock_ms = record.ts
            if record.kind == "telemetry":
                self._telemetry(record)
            else:
                self._other(record)
            self.next_offset = record.offset + 1
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
            self.faults.expire(grid_ms, self._coalesce_ms)
            self.out.tick(cause, grid_ms, self.counts)
            self.out.settle()
        self.next_timer_ms = grid_ms + GRID_MS

    @property
    def _coalesce_ms(self) -> int:
        return int(self.judges.policy.values.node.coalesce_s * 1000)

    # --- intake ----------------------------------------------------------------------------------------------

    def _telemetry(self, record: Record) -> None:
        """The only code that runs once per frame: kept short."""
        try:
            frame = decode_frame(record.value)
            node = self.roster.node(frame.node)
            if frame.gauges != node.gauges_raw or frame.counters != node.counters_raw:
                self._layout(node, frame)
            gpus = None if frame.gpus == node.gpus_raw else gpu_list(frame.gpus)
            if gpus is not None:
                self.roster.check(node.name, gpus)
            sizes = len(frame.gauge_values), len(frame.counter_values), len(frame.ticks)
            if sizes != node.sizes or gpus is not None or frame.change_at:
                check_sizes(frame, node.layout, len(node.rows) if gpus is None else len(gpus))
                node.sizes = sizes
            if frame.ticks[0] > frame.ticks[-1]:
                raise ValueError(TICKS_FALL)
        except _NOT_UNDERSTOOD as error:
            self._dead_letter(record, str(error))
            return
        if frame.seq == node.seq + 1 and frame.epoch == node.epoch:
            node.seq = frame.seq
        elif not self._fresh(node, frame.epoch, frame.seq, faults=False):
            return
        if gpus is not None:
            node.rows = self._rows(node, gpus, record)
            node.gpus_raw = frame.gpus
        if frame.cluster != node.cluster:
            self._join(node, frame.cluster)
        if node.place(frame.ticks[0], frame.ticks[-1], record.ts):
            self.counts["clock_corrections"] += 1
        placed = Placed(frame, record, node.rows, node.shift_ms, self.clock_ms, self.credit_ms)
        groups = self._turn(node).frames
        group = node.layout, sizes[2], len(node.rows)
        if group in groups:
            groups[group].append(placed)
        else:
            groups[group] = [placed]

    def _layout(self, node: NodeState, frame: Frame) -> None:
        """Nodes of one kind share a layout, so that their frames go through the signals together."""
        raw = bytes(frame.gauges), bytes(frame.counters)
        if raw not in self._layouts:
            self._layouts[raw] = read_layout(*raw, self.judges.wanted)
        node.layout = self._layouts[raw]
        node.gauges_raw, node.counters_raw = frame.gauges, frame.counters
        node.sizes = NO_SIZES

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
            known = _KINDS.get(record.kind)
            if record.kind == recording.UNREADABLE:
                raise ValueError(recording.complaint(record.value))
            if known is None:
                raise ValueError(f"records of kind {record.kind!r} are not understood")
            observed = known.decode(record.value)
            check_numbers(observed)
            gpus = _named(observed)
        except _NOT_UNDERSTOOD as error:
            self._dead_letter(record, str(error))
            return
        if isinstance(observed, records.PolicyChange):
            self._flush()
            self._change_policy(record, observed)
        elif isinstance(observed, records.Observation):
            node = self.roster.node(observed.node)
            numbered = observed.epoch or observed.seq
            if not numbered or self._fresh(node, observed.epoch, observed.seq, faults=True):
                self._later(node, record, observed, gpus)
        elif isinstance(observed, records.Operator):
            self._later(self.roster.node(observed.node), record, observed, gpus)

    def _later(self, node: NodeState, record: Record, observed: Any, gpus: Sequence[records.Gpu]) -> None:
        if gpus and observed.cluster != node.cluster:
            self._join(node, observed.cluster)
        then = _Then(self.clock_ms, node.shift_ms, self._rows(node, gpus, record))
        handle: Callable[[Record, NodeState, Any, _Then], None]
        if isinstance(observed, records.KernelFault):
            handle = self._kernel_fault
        elif isinstance(observed, records.Inventory):
            handle = self._inventory
        elif isinstance(observed, records.Operator):
            handle = self._operator
        else:
            return  # how a source fares concerns readers of the observations, not this stage
        self._turn(node).others.append(lambda: handle(record, node, observed, then))

    def _flush(self) -> None:
        """Give every waiting record its turn; no node's later record overtakes an earlier one."""
        turns, self._turns = self._turns, []
        for node in self._waiting:
            node.round = 0
        self._waiting.clear()
        for turn in turns:
            for (layout, _, _), frames in turn.frames.items():
                self._frames(layout, frames)
            for handle in turn.others:
                handle()
        self.out.settle()

    def _frames(self, layout: Layout, frames: list[Placed]) -> None:
        wrong = unsound(layout, frames)
        for number, why in wrong.items():
            self._dead_letter(frames[number].record, why)
        sound = [placed for number, placed in enumerate(frames) if number not in wrong] if wrong else frames
        if sound:
            self.judges.frames(layout, sound)

    def _rows(self, node: NodeState, gpus: Sequence[records.Gpu], record: Record) -> Array:
        """The rows of GPUs that a record names, looked up in the order of the records whatever their turn."""
        rows = [self.roster.settled(node.name, gpu.uuid, gpu.bdf) for gpu in gpus]
        if None not in rows:
            return np.array(rows, "i8")
        if node.round:
            self._flush()  # what waits still speaks of the GPUs before
        cause = Cause(record.offset, record.ts, -1)
        return self.judges.rows(node.name, gpus, cause, self.clock_ms, self.credit_ms)

    def _join(self, node: NodeState, cluster: str) -> None:
        if node.round:
            self._flush()
        node.cluster = cluster

    # --- everything else -------------------------------------------------------------------------------------

    def _inventory(self, record: Record, node: NodeState, inventory: records.Inventory, then: _Then) -> None:
        restarted = (inventory.boot, inventory.driver_load) != (node.boot, node.driver_load)
        if restarted and (node.boot or node.driver_load):
            self.judges.counters.restart(then.rows)
        node.boot, node.driver_load = inventory.boot, inventory.driver_load
        self.judges.presence.listed(then.rows)
        self.out.inventory(record, inventory)

    def _kernel_fault(self, record: Record, node: NodeState, fault: records.KernelFault, then: _Then) -> None:
        cause = Cause(record.offset, record.ts)
        if fault.fault not in _FAULTS or (fault.fault == "xid" and fault.code is None):
            self._dead_letter(record, "a line that looks like a fault could not be parsed", fault.raw.encode())
            return
        ts = min(fault.ts - then.shift_ms, record.ts + AHEAD_MS)
        code = FELL_OFF_THE_BUS if fault.code is None else fault.code
        if not then.rows.size:  # of a switch, or of a GPU that is not named
            info = of_switch(fault.severity) if fault.fault == "sxid" else lookup(code)
            self.out.xid(cause, fault, None, ts, info, repeat=False)
            return
        row = int(then.rows[0])
        news = self.faults.see((row, code), ts, fault.source, then.clock_ms, self._coalesce_ms)
        if news == "double":
            self.counts["double_reports"] += 1
            return
        event = Event(ts, then.clock_ms, fault, lookup(code), repeat=news == "repeat")
        self.out.xid(cause, fault, row, ts, event.info, repeat=event.repeat)
        self.judges.event(cause, row, event)

    def _operator(self, record: Record, node: NodeState, operator: records.Operator, then: _Then) -> None:
        self.out.forward(record, operator)
        row = self.roster.known(node.name, operator.uuid, operator.bdf)
        if operator.action == "restore" and row is not None:
            self.judges.restore_gpu(Cause(record.offset, record.ts), row, then.clock_ms)
            self.faults.forget(row)

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


def _named(observed: Any) -> list[records.Gpu]:
    """The GPUs that the record gives rows to. Raises ValueError if it lists one twice, or one without a name."""
    if isinstance(observed, records.Inventory):
        gpus = [records.Gpu(uuid=gpu.uuid, bdf=gpu.bdf) for gpu in observed.gpus]
        check_distinct(gpus)
        return gpus
    of_gpu = isinstance(observed, records.KernelFault) and observed.fault in ("xid", "bus-loss")
    return [records.Gpu(uuid=observed.uuid, bdf=observed.bdf)] if of_gpu and (observed.uuid or observed.bdf) else []


_FAULTS = ("xid", "sxid", "bus-loss")
_NOT_UNDERSTOOD = (ValueError, msgspec.MsgspecError, RecursionError)
_KINDS = {
    kind: msgspec.json.Decoder(type_)
    for kind, type_ in (
        ("inventory", records.Inventory),
        ("kernel", records.KernelFault),
        ("source", records.SourceStatus),
        ("operator", records.Operator),
        ("policy", records.PolicyChange),
        ("tick", records.Tick),
    )
}
