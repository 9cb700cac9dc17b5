"""MIG instances with findings of their own: the same signals as for GPUs, asked about one instance.

Sparse: an instance is here from its first fault until it is gone, its GPU is put back or replaced, or nothing has
been found of it for a day. It improves as soon as its findings do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.board import Board
from processors.judgement import Judgement, Levels, Tick
from processors.policy import Policy
from processors.presence import FleetView
from processors.signal import Event, Report, Signal
from processors.state import Table, View
from schemas import mig
from schemas.records import GpuInfo, HealthIncident, InstanceHealth
from schemas.states import Condition

Array = npt.NDArray[Any]
Place = tuple[int, int]  # GPU instance, compute instance (-1: all of it)

QUIET_MS = 86_400_000
FIRST = np.zeros(1, "i8")  # the one row of an instance's tables

Ask = Callable[[Signal, View, Any, Judgement], None]


class _Instance:
    """Tables and findings of one instance: of one row each."""

    def __init__(self, signals: tuple[Signal, ...], policy: Policy) -> None:
        self.tables = [Table(signal.columns, 1) for signal in signals]
        self.board = Board(signals, 1)
        self.board.apply(policy)
        self.clock_ms = 0  # stream clock at its newest fault

    def ask(self, at: int, own: Any, ts: int, ask: Ask) -> bool:
        """Ask signal number `at`; whether a finding changed so that readers see it."""
        tick = Tick(self.board, FIRST, np.array([ts]), Levels(self.board, FIRST))
        if self.board.enabled[at]:
            ask(self.board.signals[at], self.tables[at].view(FIRST), own, Judgement(tick, at))
        return bool(tick.visible)


class Instances:
    """signals: all; only those that hear of kernel faults or of DCGM's health are asked here."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        self.signals = tuple(
            signal
            for signal in signals
            if type(signal).on_event is not Signal.on_event or HealthIncident in signal.reads
        )
        self._of: dict[int, dict[Place, _Instance]] = {}
        self._policy: Policy
        self._own: list[Any] = []

    def apply(self, policy: Policy) -> None:
        """Judge by `policy` from now on."""
        self._policy = policy
        self._own = [policy.of(signal) for signal in self.signals]
        for places in self._of.values():
            for instance in places.values():
                instance.board.apply(policy)

    # --- what happens ------------------------------------------------------------------------------------------

    def event(self, row: int, event: Event) -> bool | None:
        """A kernel fault of the GPU at `row`: None if it concerns all of it, else whether there is something to say."""
        fault, info = event.fault, event.info
        place = mig.place(fault.gi, fault.ci)
        if place is None or not mig.xid_stays_inside(info.code, info.category, fault.message):
            return None

        def ask(signal: Signal, state: View, own: Any, out: Judgement) -> None:
            signal.on_event(event, state, own, out)

        return self._ask(row, place, event.ts, event.clock_ms, ask)

    def report(self, row: int, report: Report) -> bool | None:
        """The same for another observation. Signals see it as if the instance were the GPU."""
        told = report.record
        if not isinstance(told, HealthIncident) or told.system not in mig.INSIDE_SYSTEMS:
            return None
        place = mig.place(told.gi, told.ci)
        if place is None:
            return None
        told = msgspec.structs.replace(told, gi=None, ci=None)
        inside = Report(report.ts, report.clock_ms, told, np.zeros(1, "i8"))

        def ask(signal: Signal, state: View, own: Any, out: Judgement) -> None:
            if HealthIncident in signal.reads:
                signal.on_report(inside, state, own, out)

        return self._ask(row, place, report.ts, report.clock_ms, ask)

    def _ask(self, row: int, place: Place, ts: int, clock_ms: int, ask: Ask) -> bool:
        places = self._of.setdefault(row, {})
        instance = places.get(place)
        if instance is None:
            instance = places[place] = _Instance(self.signals, self._policy)
        instance.clock_ms = clock_ms
        said = [instance.ask(at, own, ts, ask) for at, own in enumerate(self._own)]
        return any(said)

    def timer(self, fleet: FleetView) -> Array:
        """Ask about all of them; the rows of GPUs of which there is something to say, rising."""
        changed = []
        for row in sorted(self._of):
            view, places = fleet.of(row), self._of[row]

            def ask(signal: Signal, state: View, own: Any, out: Judgement, view: FleetView = view) -> None:
                signal.on_timer(view, state, own, out)

            said = [
                instance.ask(at, own, fleet.now_ms, ask)
                for instance in places.values()
                for at, own in enumerate(self._own)
            ]
            if any(said) or (fleet.new_policy and places):
                changed.append(row)
            for place, instance in list(places.items()):
                if fleet.now_ms - instance.clock_ms > QUIET_MS and not (instance.board.level > 0).any():
                    del places[place]
            if not places:
                del self._of[row]
        return np.array(changed, "i8")

    # --- who they are ------------------------------------------------------------------------------------------

    def listed(self, row: int, info: GpuInfo, *, restarted: bool) -> bool:
        """An inventory lists the GPU: instances that are not there any more are forgotten. Whether any was.

        restarted: machine or driver did; instances do not outlast that.
        """
        places = self._of.get(row, {})
        listed = info.instances
        gone = [
            place for place in places if restarted or not info.mig or (listed is not None and place[0] not in listed)
        ]
        for place in gone:
            del places[place]
        if not places:
            self._of.pop(row, None)
        return bool(gone)

    def forget(self, row: int) -> None:
        """Another GPU stands there, or an operator vouches for this one."""
        self._of.pop(row, None)

    def move(self, former: int, row: int) -> None:
        """The GPU at `former` is found to be the one at `row`."""
        moved = self._of.pop(former, {})
        if moved:
            self._of[row] = moved | self._of.get(row, {})

    # --- what is known of them ---------------------------------------------------------------------------------

    def of(self, row: int, held: float, condition: Condition) -> list[InstanceHealth]:
        """Those instances of a GPU with this held score and condition that are worse than it."""
        found = []
        for (gi, ci), instance in sorted(self._of.get(row, {}).items()):
            score = float(instance.board.scores(FIRST)[0])
            if score < held:
                action, _, corruption = instance.board.fault(0)
                own = Condition.of_score(score)
                unknown = condition is Condition.UNKNOWN and own is not Condition.FAILED
                health = InstanceHealth(
                    gi=gi,
                    ci=None if ci < 0 else ci,
                    score=score,
                    condition=condition if unknown else own,
                    action=action,
                    corruption=corruption,
                    reasons=instance.board.reasons(0),
                )
                found.append(health)
        return found

    def save(self) -> list[list[Any]]:
        """The row comes first."""
        return [
            [
                row,
                *place,
                instance.clock_ms,
                instance.board.save(1),
                {signal.name: table.save(1) for signal, table in zip(self.signals, instance.tables, strict=True)},
            ]
            for row in sorted(self._of)
            for place, instance in sorted(self._of[row].items())
        ]

    def load(self, saved: list[list[Any]], policy: Policy) -> None:
        for row, gi, ci, clock_ms, board, tables in saved:
            instance = _Instance(self.signals, policy)
            instance.clock_ms = clock_ms
            instance.board.load(1, board)
            for signal, table in zip(self.signals, instance.tables, strict=True):
                table.load(1, tables.get(signal.name, {}))
            self._of.setdefault(row, {})[gi, ci] = instance
