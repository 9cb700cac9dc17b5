"""The node stage: observations of nodes -> findings of signals -> score, condition and reasons of every GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from processors import checkpoints
from processors import policy as policies
from processors.ingest import (
    NO_SIZES,
    Frame,
    Layout,
    NodeState,
    Roster,
    check_sizes,
    decode_frame,
    gpu_list,
    read_layout,
)
from processors.judges import GRID_MS, Judges
from processors.kernel_faults import FaultLog
from processors.node_output import Cause
from processors.signal import Event, Signal, discover
from processors.waves import Placed, unsound
from schemas import records
from schemas.log import Checkpoint, Output, Record
from schemas.xid import lookup, of_switch

CREDIT_MS = 2_000  # the most that one gap of the stream clock counts towards silence
AHEAD_MS = 5_000  # how far an event's time may lie ahead of its append time
STATE_VERSION = 1
FELL_OFF_THE_BUS = 79

# What was dropped or corrected; published with the stage's ticks.
COUNTED = ("duplicates", "late", "missing", "clock_corrections", "double_reports", "dead_letters")


class _Now(NamedTuple):
    """The stream clock and the credited time when a record came; it may get its turn later."""

    clock_ms: int
    credit_ms: int


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
        self.judges = Judges(discover() if signals is None else signals, self.roster)
        self.out = self.judges.out
        self.faults = FaultLog()
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
            self.faults.expire(grid_ms)
            self.out.tick(cause, grid_ms, self.counts)
            self.out.settle()
        self.next_timer_ms = grid_ms + GRID_MS

    # --- intake ----------------------------------------------------------------------------------------------

    def _telemetry(self, record: Record) -> None:
        """The only code that runs once per frame: kept short."""
        try:
            frame = decode_frame(record.value)
            node = self.roster.node(frame.node)
            if frame.gauges != node.gauges_raw or frame.counters != node.counters_raw:
                self._layout(node, frame)
            gpus = None if frame.gpus == node.gpus_raw else gpu_list(frame.gpus)
            sizes = len(frame.gauge_values), len(frame.counter_values), len(frame.ticks)
            if sizes != node.sizes or gpus is not None or frame.change_at:
                check_sizes(frame, node.layout, len(node.rows) if gpus is None else len(gpus))
                node.sizes = sizes
        except (ValueError, msgspec.MsgspecError) as error:
            self._dead_letter(record, str(error))
            return
        if frame.seq == node.seq + 1 and frame.epoch == node.epoch:
            node.seq = frame.seq
        elif not self._fresh(node, frame.epoch, frame.seq, faults=False):
            return
        if gpus is not None:
            self._bind(node, frame, gpus, record)
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
            if known is None:
                raise ValueError(f"records of kind {record.kind!r} are not understood")
            observed = known.decode(record.value)
        except (ValueError, msgspec.MsgspecError) as error:
            self._dead_letter(record, str(error))
            return
        if isinstance(observed, records.PolicyChange):
            self._flush()
            self._change_policy(record, observed)
        elif isinstance(observed, records.Observation):
            node = self.roster.node(observed.node)
            numbered = observed.epoch or observed.seq
            if not numbered or self._fresh(node, observed.epoch, observed.seq, faults=True):
                self._later(node, record, observed)
        elif isinstance(observed, records.Operator):
            self._later(self.roster.node(observed.node), record, observed)

    def _later(self, node: NodeState, record: Record, observed: Any) -> None:
        now = _Now(self.clock_ms, self.credit_ms)
        handle: Callable[[Record, NodeState, Any, _Now], None]
        if isinstance(observed, records.KernelFault):
            handle = self._kernel_fault
        elif isinstance(observed, records.Inventory):
            handle = self._inventory
        elif isinstance(observed, records.Operator):
            handle = self._operator
        else:
            return  # how a source fares concerns readers of the observations, not this stage
        self._turn(node).others.append(lambda: handle(record, node, observed, now))

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

    def _bind(self, node: NodeState, frame: Frame, gpus: list[records.Gpu], record: Record) -> None:
        """The node lists other GPUs than in its frame before: find their rows."""
        if node.round:
            self._flush()  # what waits still speaks of the GPUs before
        node.gpus_raw = frame.gpus
        node.cluster = frame.cluster
        node.rows = self.judges.rows(
            node.name, gpus, Cause(record.offset, record.ts, -1), record.ts, self.credit_ms
        )

    # --- everything else -------------------------------------------------------------------------------------

    def _inventory(self, record: Record, node: NodeState, inventory: records.Inventory, now: _Now) -> None:
        cause = Cause(record.offset, record.ts)
        node.cluster = inventory.cluster
        gpus = [records.Gpu(uuid=gpu.uuid, bdf=gpu.bdf) for gpu in inventory.gpus]
        rows = self.judges.rows(node.name, gpus, cause, record.ts, now.credit_ms)
        restarted = (inventory.boot, inventory.driver_load) != (node.boot, node.driver_load)
        if restarted and (node.boot or node.driver_load):
            self.judges.counters.restart(rows)
        node.boot, node.driver_load = inventory.boot, inventory.driver_load
        self.out.inventory(record, inventory)

    def _kernel_fault(self, record: Record, node: NodeState, fault: records.KernelFault, now: _Now) -> None:
        cause = Cause(record.offset, record.ts)
        if fault.fault not in ("xid", "sxid", "bus-loss"):
            self._dead_letter(
                record, "a line that looks like a fault could not be parsed", fault.raw.encode()
            )
            return
        ts = min(fault.ts - node.shift_ms, record.ts + AHEAD_MS)
        if fault.fault == "sxid" or not (fault.bdf or fault.uuid):
            self.out.xid(cause, fault, None, ts, of_switch(fault.severity), repeat=False)
            return
        node.cluster = fault.cluster
        gpu = records.Gpu(uuid=fault.uuid, bdf=fault.bdf)
        row = int(self.judges.rows(node.name, [gpu], cause, record.ts, now.credit_ms)[0])
        code = FELL_OFF_THE_BUS if fault.code is None else fault.code
        coalesce_ms = int(self.judges.policy.values.node.coalesce_s * 1000)
        news = self.faults.see((row, code), ts, fault.source, coalesce_ms)
        if news == "double":
            self.counts["double_reports"] += 1
            return
        event = Event(ts, now.clock_ms, fault, lookup(code), repeat=news == "repeat")
        self.out.xid(cause, fault, row, ts, event.info, repeat=event.repeat)
        self.judges.event(cause, row, event)

    def _operator(self, record: Record, node: NodeState, operator: records.Operator, now: _Now) -> None:
        self.out.forward(record, operator)
        row = self.roster.known(node.name, operator.uuid, operator.bdf)
        if operator.action == "restore" and row is not None:
            self.judges.restore_gpu(Cause(record.offset, record.ts), row, now.clock_ms)
            self.faults.forget(row)

    def _change_policy(self, record: Record, change: records.PolicyChange) -> None:
        try:
            policy = policies.from_change(change)
        except msgspec.ValidationError as error:
            self._dead_letter(record, f"policy {change.id}: {error}")
            return
        self.out.forward(record, change)
        self.judges.apply(policy)
        self.judges.timer(Cause(record.offset, record.ts), self.clock_ms, self.credit_ms, new_policy=True)

    def _dead_letter(self, record: Record, why: str, data: bytes | None = None) -> None:
        self.counts["dead_letters"] += 1
        self.out.dead_letter(record, why, data)


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
