"""The signals at work: who is who among the GPUs, and which signals are asked about rounds, timers and events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors import policy as policies
from processors.fault_intake import FaultIntake
from processors.frames import Frames
from processors.incidents import Incidents
from processors.judgement import Judgement, Levels, Tick
from processors.layout import Shape
from processors.node_output import WHOLE, Cause, Instance, NodeOutput
from processors.policy import Policy
from processors.roster import Roster
from processors.rows import Rows
from processors.signal import Event, Report, Signal
from processors.state import View
from processors.verdicts import Verdicts
from processors.waves import Round
from schemas import records
from schemas.operators import BY_POLICY

Array = npt.NDArray[Any]

GRID_MS = 5_000  # timers fire on this grid of the stream clock, between records


class Judges:
    """All signals, with what they keep of each GPU and what follows from what they find."""

    def __init__(self, signals: tuple[Signal, ...], roster: Roster) -> None:
        self.signals = signals
        self.roster = roster
        self.rows = rows = Rows(signals, roster)
        self.board, self.tables, self.rounds = rows.board, rows.tables, rows.rounds
        self.counters, self.presence, self.instances = rows.counters, rows.presence, rows.instances
        self.revalidations, self.predictions = rows.revalidations, rows.predictions
        self.out = NodeOutput(roster, self.board, self.instances)
        self.incidents = Incidents(signals, roster, self.board, self.out)
        self.verdicts = Verdicts(rows, self.incidents, self.out)
        self.faults = FaultIntake(self.incidents, self.out, self.event, self.verdicts.retell)
        self._reading = {
            type_: [at for at, signal in enumerate(signals) if type_ in signal.reads]
            for type_ in {type_ for signal in signals for type_ in signal.reads}
        }
        self._evented = [at for at, signal in enumerate(signals) if type(signal).on_event is not Signal.on_event]
        self._timed = [at for at, signal in enumerate(signals) if type(signal).on_timer is not Signal.on_timer]
        self.policy = policies.from_document("default", {})
        self.apply(self.policy)

    def apply(self, policy: Policy) -> None:
        """Judge by `policy` from now on."""
        self.rows.apply(policy)
        self._heed(policy)

    def _heed(self, policy: Policy) -> None:
        self.policy = policy
        self._own = [policy.of(signal) for signal in self.signals]
        self.incidents.apply(policy.values.node)
        self.faults.apply(policy)

    # --- who is who ------------------------------------------------------------------------------------------

    def arrive(self, node: str, gpus: Sequence[records.Gpu], cause: Cause, clock_ms: int, credit_ms: int) -> Array:
        """The rows of `gpus`, fresh ones for those that are new or stand in another's slot."""
        known = len(self.roster)
        places = self.roster.find_all(node, gpus)
        self.rows.fit()
        self.presence.table.columns["created"][known : len(self.roster)] = credit_ms
        rows = [place.row for place in places]
        for place in places:
            if place.replaced:
                self._unsay(cause, place.row, place.replaced)
                self.rows.reset(place.row, credit_ms)
                self.faults.left(cause, place.row, clock_ms)
                self.out.gone(cause, place.row, place.replaced, clock_ms)
            if place.displaced is not None and place.displaced not in rows:
                self._unsay(cause, place.displaced, self.roster.uuid_of[place.displaced])
                self.out.gone(cause, place.row, self.roster.uuid_of[place.displaced], clock_ms)
                self.faults.left(cause, place.displaced, clock_ms)
                self.rows.retire(place.displaced)
            if place.absorbed is not None:
                self.incidents.moved(place.absorbed, place.row)
                self.faults.log.forget(place.absorbed)
                self.rows.absorb(place.row, place.absorbed)
            if place.named or place.absorbed is not None:
                self._unsay(cause, place.row, self.out.slot_key(place.row))
                self.out.renamed(cause, place.row)
            if place.named or place.moved:
                self._ask((), cause, np.array([place.row]), clock_ms, clock_ms, lambda *_: None, always=True)
        return np.array(rows, "i8")

    def _unsay(self, cause: Cause, row: int, key: str) -> None:
        """The GPU of `row` is no longer known by `key`."""
        if self.predictions.unsay(row):
            self.out.unsaid(cause, key)

    # --- what signals are asked ----------------------------------------------------------------------------------

    def frames(self, shape: Shape, frames: Frames) -> None:
        """One frame each of many nodes."""
        round_ = Round(shape, frames, self.counters)
        self.predictions.saw(round_, self.presence.table.columns["node_ts"])
        self.presence.saw(round_)
        for number, tick in self.rounds.judge(round_, self._own):
            self._round_verdicts(tick, round_, number)

    def _round_verdicts(self, tick: Tick, round_: Round, number: int) -> None:
        def cause(position: int) -> Cause:
            frame, gpu = divmod(position, round_.width)
            record = round_.frames.records[frame]
            return Cause(record.offset, record.ts, number, gpu)

        self.verdicts.follow(tick, cause, lambda positions: round_.frames.clock_ms[positions // round_.width])

    def timer(self, cause: Cause, now_ms: int, credit_ms: int, *, new_policy: bool = False) -> None:
        """All GPUs, at a point of the timer grid or when the policy changed."""
        count = len(self.roster)
        levels = Levels(self.board, slice(0, count))
        tick = Tick(self.board, np.arange(count), np.full(count, now_ms), levels)
        fleet = self.presence.fleet(now_ms, credit_ms, self.roster.node_of, new_policy=new_policy)
        for at in self._timed:
            if self.board.enabled[at]:
                state = self.tables[at].view(slice(0, count))
                self.signals[at].on_timer(fleet, state, self._own[at], Judgement(tick, at))
        tick.visible.append(self.instances.timer(fleet))
        tick.due.append(self.board.improving(count))
        if new_policy:
            tick.visible.append(self.board.touched(count))
        for foretold in self.predictions.timer(fleet.node_ts, new_policy=new_policy):
            self.out.prediction(cause._replace(gpu=foretold.row), foretold, now_ms, self.predictions.policy)
        beat = int(self.policy.values.node.rates_every_s * 1000)
        if now_ms % beat < GRID_MS:
            self.verdicts.heartbeat(cause, now_ms, count)
        self.verdicts.follow(
            tick,
            lambda position: cause._replace(gpu=position),
            lambda positions: np.full(len(positions), now_ms),
            late=True,
            new_policy=new_policy,
        )

    def event(self, cause: Cause, row: int, event: Event, *, pardoned: bool = False) -> None:
        """A kernel fault of one GPU, or of a MIG instance of it.

        pardoned: it turns out to be none of the GPU's, which need not wait to be well.
        """
        if pardoned:
            self.board.verdicts.columns["held"][row] = 1.0
        news = self.instances.event(row, event)
        if news is not None:
            self._ask((), cause, np.array([row]), event.ts, event.clock_ms, lambda *_: None, always=news)
            return
        self._ask(
            self._evented,
            cause,
            np.array([row]),
            event.ts,
            event.clock_ms,
            lambda signal, state, own, out: signal.on_event(event, state, own, out),
            always=pardoned,
            instance=(event.fault.gi, event.fault.ci),
        )

    def report(self, cause: Cause, rows: Array, report: Report) -> None:
        """Another observation, of the GPUs at `rows`, or of a MIG instance of one."""
        told = report.record
        news = self.instances.report(int(rows[0]), report)
        if news is not None:
            self._ask((), cause, rows, report.ts, report.clock_ms, lambda *_: None, always=news)
            return
        if isinstance(told, records.Diagnostic) and self.revalidations.passed(int(rows[0]), told):
            self._release(cause, int(rows[0]), report)
            return
        self._ask(
            self._reading.get(type(report.record), ()),
            cause,
            rows,
            report.ts,
            report.clock_ms,
            lambda signal, state, own, out: signal.on_report(report, state, own, out),
        )

    def listed(
        self, cause: Cause, rows: Array, infos: Sequence[records.GpuInfo], ts: int, clock_ms: int, *, restarted: bool
    ) -> None:
        """An inventory lists the GPUs at `rows`: MIG instances may be gone."""
        fewer = [
            self.instances.listed(row, info, restarted=restarted)
            for row, info in zip(rows.tolist(), infos, strict=True)
        ]
        if any(fewer):
            self._ask((), cause, rows[np.array(fewer)], ts, clock_ms, lambda *_: None, always=True)

    def _release(self, cause: Cause, row: int, report: Report) -> None:
        """A diagnostic has passed that by policy puts the GPU back: what tells of corruption is forgotten.

        But by the diagnostic's own findings, which judge for themselves whether this one disproves them.
        """
        reading = self._reading.get(type(report.record), [])
        latched = [self.signals[at] for at in self.board.corrupting(row) if at not in reading]

        def ask(signal: Signal, state: View, own: Any, out: Judgement) -> None:
            if signal in latched:
                signal.on_restore(state, own, out)
            else:
                signal.on_report(msgspec.structs.replace(report, releases=True), state, own, out)

        self.board.verdicts.columns["held"][row] = 1.0
        asked = sorted({*reading, *(self.signals.index(signal) for signal in latched)})
        self._ask(asked, cause, np.array([row]), report.ts, report.clock_ms, ask, always=True)
        if not self.board.corrupting(row):
            self.revalidations.restored(row, report.clock_ms)
            self.faults.log.restart(row)
            note = "a diagnostic passed, and node.release_by_diagnostic is set"
            self.out.restored(cause, row, report.clock_ms, BY_POLICY, note)

    def restore_gpu(self, cause: Cause, row: int, clock_ms: int) -> None:
        """An operator vouches for the GPU: latches open, and the verdict improves without waiting."""
        self.instances.forget(row)
        self.board.verdicts.columns["held"][row] = 1.0
        self.revalidations.restored(row, clock_ms)
        self._ask(
            range(len(self.signals)),
            cause,
            np.array([row]),
            clock_ms,
            clock_ms,
            lambda signal, state, own, out: signal.on_restore(state, own, out),
            always=True,
        )

    def _ask(
        self,
        signals: Sequence[int],
        cause: Cause,
        rows: Array,
        ts: int,
        clock_ms: int,
        ask: Callable[[Signal, View, Any, Judgement], None],
        *,
        always: bool = False,
        instance: Instance = WHOLE,
    ) -> None:
        """Ask `signals`, by number, about the GPUs at `rows`. always: say their verdicts even where nothing is new."""
        tick = Tick(self.board, rows, np.full(len(rows), ts), Levels(self.board, rows))
        for at in signals:
            if self.board.enabled[at]:
                ask(self.signals[at], self.tables[at].view(rows), self._own[at], Judgement(tick, at))
        if always:
            tick.visible.append(np.arange(len(rows)))
        self.verdicts.follow(
            tick,
            lambda position: cause._replace(gpu=position),
            lambda positions: np.full(len(positions), clock_ms),
            instance=instance,
        )

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        return {"policy": records.encode(policies.to_change(self.policy, 0)), **self.rows.save()}

    def load(self, saved: dict[str, Any]) -> None:
        """The roster is loaded before."""
        policy = policies.from_state(msgspec.json.decode(saved["policy"], type=records.PolicyChange))
        self.rows.load(saved, policy)
        self._heed(policy)

    @property
    def bytes_per_gpu(self) -> int:
        return self.rows.bytes_per_gpu
