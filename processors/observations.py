"""What becomes of an observation that is no telemetry, when its turn comes: by kind, one method each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.fault_intake import Line
from processors.incident import NOBODY
from processors.judges import Judges
from processors.node_output import Cause
from processors.node_state import AHEAD_MS, NodeState, Seat
from processors.observed import FOR_CLUSTER, OF_NODE
from processors.signal import Report
from schemas import records, revalidations
from schemas.log import Record

Array = npt.NDArray[Any]

_FAULTS = ("xid", "sxid", "bus-loss")


class Then(NamedTuple):
    """How things stood when a record came, which gets its turn later.

    clock_ms, credit_ms: the stream clock, and the credited time. shift_ms: what to subtract from the node's times.
    rows: of the GPUs it names. seat: of the node's frames before it.
    """

    clock_ms: int
    credit_ms: int
    shift_ms: int
    rows: Array
    seat: Seat


class Observations:
    """Hands each observation to the judges, and to the cluster stage what that needs."""

    def __init__(self, judges: Judges) -> None:
        self.judges = judges
        self.roster = judges.roster
        self.faults = judges.faults
        self.out = judges.out
        self._handle: dict[type[Any], Callable[[Record, NodeState, Any, Then], None]] = {
            records.Inventory: self._inventory,
            records.KernelFault: self._kernel_fault,
            records.CommandResult: self._command_result,
            records.Operator: self._operator,
            records.Placement: self._placement,
            records.Revalidated: self._revalidated,
        }

    def take(self, record: Record, node: NodeState, observation: Any, then: Then) -> None:
        """`observation` is what `record` holds."""
        self._handle.get(type(observation), self._report)(record, node, observation, then)

    def _inventory(self, record: Record, node: NodeState, inventory: records.Inventory, then: Then) -> None:
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
        if inventory.rack or any(gpu.model or gpu.peers for gpu in inventory.gpus):  # else it tells of no unit or link
            self.out.forward(record, inventory)
        self._report(record, node, inventory, then)

    def _report(self, record: Record, node: NodeState, observation: records.Observation, then: Then) -> None:
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

    def _command_result(self, record: Record, node: NodeState, result: records.CommandResult, then: Then) -> None:
        self.out.forward(record, result)
        ts = min(result.ts - then.shift_ms, record.ts + AHEAD_MS)
        rows = np.array(self.roster.rows_of(node.name), "i8")
        self.judges.presence.commanded(rows, result, then.credit_ms, max(0, then.clock_ms - ts))

    def _placement(self, record: Record, node: NodeState, placement: records.Placement, then: Then) -> None:
        self.out.forward(record, placement)

    def _revalidated(self, record: Record, node: NodeState, answer: records.Revalidated, then: Then) -> None:
        if why := revalidations.fault(answer):
            self.out.dead_letter(record, why)
            return
        self.out.revalidated(record, answer)
        self._report(record, node, answer, then)

    def _kernel_fault(self, record: Record, node: NodeState, fault: records.KernelFault, then: Then) -> None:
        cause = Cause(record.offset, record.ts)
        if fault.fault not in _FAULTS or (fault.fault == "xid" and fault.code is None):
            self.out.dead_letter(record, "a line that looks like a fault could not be parsed", fault.raw.encode())
            return
        ts = min(fault.ts - then.shift_ms, record.ts + AHEAD_MS)
        row = int(then.rows[0]) if then.rows.size else NOBODY
        if not self.faults.take(Line(cause, row, fault, ts, then.clock_ms)):
            self.out.counts["double_reports"] += 1

    def _operator(self, record: Record, node: NodeState, operator: records.Operator, then: Then) -> None:
        self.out.forward(record, operator)
        row = self.roster.known(node.name, operator.uuid, operator.bdf)
        if operator.action in ("maintenance", "end-maintenance"):
            self._maintenance(record, node, operator, then)
        if operator.action == "restore" and row is not None:
            self.judges.restore_gpu(Cause(record.offset, record.ts), row, then.clock_ms)
            self.faults.vouched(Cause(record.offset, record.ts), row, then.clock_ms, operator=True)

    def _maintenance(self, record: Record, node: NodeState, word: records.Operator, then: Then) -> None:
        row = self.roster.known(node.name, word.uuid, word.bdf)
        whole = not (word.uuid or word.bdf)
        rows = np.array(self.roster.rows_of(node.name) if whole else [] if row is None else [row], "i8")
        if not rows.size:
            self.out.dead_letter(
                record, f"{word.action} of what is not known: {node.name} {word.uuid or word.bdf}".rstrip()
            )
        elif word.action == "end-maintenance":
            self.judges.presence.end_plan(rows, then.credit_ms)
        elif word.until > then.clock_ms:
            self.judges.presence.plan(rows, word.until)
        else:
            why = f"maintenance until {word.until}, which is past at {then.clock_ms}; give a later time, in ms"
            self.out.dead_letter(record, why)
