"""The signals at work: runs them over rounds, timers and events, and turns what they find into verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors import policy as policies
from processors.board import Board
from processors.counters import Counters
from processors.ingest import Frames, Roster, Shape
from processors.instances import Instances
from processors.judgement import Judgement, Levels, Tick
from processors.kernel_faults import FaultLog
from processors.node_output import WHOLE, Cause, Instance, NodeOutput
from processors.policy import Policy
from processors.prediction.predictions import Predictions
from processors.presence import Presence
from processors.revalidation import Revalidations
from processors.rounds import Rounds
from processors.signal import Event, Report, Signal
from processors.state import Table, View
from processors.waves import Round
from schemas import records
from schemas.fields import FIELDS, Kind
from schemas.states import Action, Condition

Array = npt.NDArray[Any]

_NEVER = np.empty(0, "i8")
GRID_MS = 5_000  # timers fire on this grid of the stream clock, between records


class Judges:
    """All signals with their state: a row per GPU, as in the roster."""

    def __init__(self, signals: tuple[Signal, ...], roster: Roster, faults: FaultLog) -> None:
        self.signals = signals
        self.roster = roster
        self.faults = faults
        self.capacity = 64
        fields = {field for signal in signals for field in signal.fields}
        changing = sorted(field for field in fields if FIELDS[field].kind is not Kind.GAUGE)
        # Field -> its row among the counters, -1 for gauges: what frames are searched for.
        self.wanted = {field: changing.index(field) if field in changing else -1 for field in sorted(fields)}
        self.counters = Counters(changing, self.capacity)
        self.board = Board(signals, self.capacity)
        self.presence = Presence(self.capacity)
        self.revalidations = Revalidations(self.capacity)
        self.predictions = Predictions(self.capacity)
        self._own_tables = self.presence.table, self.revalidations.table, self.predictions.table
        self.tables = [Table(signal.columns, self.capacity) for signal in signals]
        self.rounds = Rounds(signals, self.tables, self.board, self.counters)
        self.instances = Instances(signals)
        self.out = NodeOutput(roster, self.board, self.instances)
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
        self.policy = policy
        self.board.apply(policy)
        self.revalidations.apply(policy.values.node)
        self.predictions.apply(policy.values.prediction)
        self._own = [policy.of(signal) for signal in self.signals]
        self.instances.apply(policy)

    # --- rows --------------------------------------------------------------------------------------------------

    def rows(self, node: str, gpus: Sequence[records.Gpu], cause: Cause, clock_ms: int, credit_ms: int) -> Array:
        """The rows of `gpus`, fresh ones for those that are new or stand in another's slot."""
        known = len(self.roster)
        places = self.roster.find_all(node, gpus)
        self._fit()
        self.presence.table.columns["created"][known : len(self.roster)] = credit_ms
        rows = [place.row for place in places]
        for place in places:
            if place.replaced:
                self._unsay(cause, place.row, place.replaced)
                self._reset(place.row, credit_ms)
                self.out.gone(cause, place.row, place.replaced, clock_ms)
            if place.displaced is not None and place.displaced not in rows:
                self._unsay(cause, place.displaced, self.roster.uuid_of[place.displaced])
                self.out.gone(cause, place.row, self.roster.uuid_of[place.displaced], clock_ms)
                self._retire(place.displaced)
            if place.absorbed is not None:
                self._absorb(place.row, place.absorbed)
            if place.named or place.absorbed is not None:
                self._unsay(cause, place.row, self.out.slot_key(place.row))
                self.out.renamed(cause, place.row)
            if place.named or place.moved:
                self._ask((), cause, np.array([place.row]), clock_ms, clock_ms, lambda *_: None, always=True)
        return np.array(rows, "i8")

    def _fit(self) -> None:
        if len(self.roster) > self.capacity:
            while self.capacity < len(self.roster):
                self.capacity *= 2
            self.counters.grow(self.capacity)
            self.board.grow(self.capacity)
            self.rounds.grow(self.capacity)
            for table in (*self.tables, *self._own_tables):
                table.grow(self.capacity)

    def _reset(self, row: int, credit_ms: int) -> None:
        """Another GPU stands there: nothing of what is known of the one before holds."""
        rows = np.array([row])
        self.counters.forget(rows)
        self.board.reset(rows)
        for table in (*self.tables, self.revalidations.table):
            table.reset(rows)
        self.presence.reset(rows, credit_ms)
        self.predictions.forget(row)
        for sampled in self.rounds.sampled.values():
            sampled[rows] = 0
        self.faults.forget(row)
        self.instances.forget(row)

    def _retire(self, row: int) -> None:
        self.roster.retire(row)
        self._reset(row, 0)
        self.presence.table.columns["retired"][row] = 1

    def _unsay(self, cause: Cause, row: int, key: str) -> None:
        """The GPU of `row` is no longer known by `key`."""
        if self.predictions.unsay(row):
            self.out.unsaid(cause, key)

    def _absorb(self, row: int, former: int) -> None:
        """`former` was the same GPU, known by its BDF alone, so that only kernel faults can be known of it."""
        for at, signal in enumerate(self.signals):
            by_events = type(signal).on_event is not Signal.on_event
            if by_events and self.board.level[at, former] > self.board.level[at, row]:
                self.tables[at].copy(former, row)
                self.board.copy(at, former, row)
        self.instances.move(former, row)
        if self.revalidations.table.columns["detected"][former]:
            self.revalidations.table.copy(former, row)
        self.predictions.copy(former, row)
        self._retire(former)

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

        self._verdicts(tick, cause, lambda positions: round_.frames.clock_ms[positions // round_.width])

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
            self._heartbeat(cause, now_ms, count)
        self._verdicts(
            tick,
            lambda position: cause._replace(gpu=position),
            lambda positions: np.full(len(positions), now_ms),
            late=True,
            new_policy=new_policy,
        )

    def event(self, cause: Cause, row: int, event: Event) -> None:
        """A kernel fault of one GPU, or of a MIG instance of it."""
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
                signal.on_report(report, state, own, out)

        self.board.verdicts.columns["held"][row] = 1.0
        asked = sorted({*reading, *(self.signals.index(signal) for signal in latched)})
        self._ask(asked, cause, np.array([row]), report.ts, report.clock_ms, ask, always=True)
        if not self.board.corrupting(row):
            self.revalidations.restored(row, report.clock_ms)
            self.faults.forget(row)
            note = "a diagnostic passed, and node.release_by_diagnostic is set"
            self.out.restored(cause, row, report.clock_ms, "the policy", note)

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
        self._verdicts(
            tick,
            lambda position: cause._replace(gpu=position),
            lambda positions: np.full(len(positions), clock_ms),
            instance=instance,
        )

    # --- what follows from their findings --------------------------------------------------------------------------

    def _verdicts(
        self,
        tick: Tick,
        cause: Callable[[int], Cause],
        clock: Callable[[Array], Array],
        *,
        late: bool = False,
        new_policy: bool = False,
        instance: Instance = WHOLE,
    ) -> None:
        retired = self.presence.table.columns["retired"]
        for at, positions, quantity, values in tick.rates:
            for position, value in zip(positions.tolist(), values.tolist(), strict=True):
                if retired[tick.rows[position]]:
                    continue
                row, level = int(tick.rows[position]), int(tick.before[at][position])
                self.out.rate(cause(position), row, int(tick.ts[position]), at, level, quantity, value)
        positions = tick.changed()
        positions = positions[retired[tick.rows[positions]] == 0]
        if not positions.size:
            return
        visible = np.zeros(len(tick.rows), bool)
        for touched in tick.visible:
            visible[touched] = True
        changed, assessed = self.board.assess(tick.rows[positions], clock(positions), late=late)
        for position in positions[changed | (visible[positions] & assessed)].tolist():
            row, ts = int(tick.rows[position]), int(tick.ts[position])
            evidence = self.board.evidence(row, self.board.corrupting(row))
            fit = self.board.condition(row) not in (Condition.UNKNOWN, Condition.FAILED)
            news = self.revalidations.heed(row, ts, evidence, fit=fit, new_policy=new_policy)
            if news:
                self.out.revalidation(cause(position), row, ts, instance, news)
            repeats = evidence and self.revalidations.repeats(row)
            at_least = Action.EVICT_PERMANENTLY if repeats else Action.NONE
            self.out.verdict(cause(position), row, ts, at_least=at_least)

    def _heartbeat(self, cause: Cause, now_ms: int, count: int) -> None:
        """Rates that are not zero, now and then, whether or not a class changed."""
        for at, signal in enumerate(self.signals):
            values = signal.rates(self.tables[at].view(slice(0, count)))
            if values is None:
                continue
            for row in np.flatnonzero(values > 0).tolist():
                level, quantity = int(self.board.level[at, row]), self.board.quantities[at]
                where = cause._replace(gpu=row)
                self.out.rate(where, row, now_ms, at, level, quantity, float(values[row]))

    # --- checkpoints -----------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        count = len(self.roster)
        return {
            "policy": records.encode(policies.to_change(self.policy, 0)),
            "counters": self.counters.save(count),
            "board": self.board.save(count),
            "presence": self.presence.table.save(count),
            "instances": self.instances.save(),
            "revalidations": self.revalidations.table.save(count),
            "predictions": self.predictions.save(count),
            "signals": {
                signal.name: [self.rounds.sampled.get(at, _NEVER)[:count].tobytes(), self.tables[at].save(count)]
                for at, signal in enumerate(self.signals)
            },
        }

    def load(self, saved: dict[str, Any]) -> None:
        """The roster is loaded before."""
        self._fit()
        count = len(self.roster)
        self.counters.load(count, saved["counters"])
        self.board.load(count, saved["board"])
        self.presence.table.load(count, saved["presence"])
        self.revalidations.table.load(count, saved.get("revalidations", {}))
        for at, signal in enumerate(self.signals):
            if signal.name in saved["signals"]:
                sampled, table = saved["signals"][signal.name]
                if at in self.rounds.sampled and sampled:
                    self.rounds.sampled[at][:count] = np.frombuffer(sampled, "i8")
                self.tables[at].load(count, table)
        self.apply(policies.from_state(msgspec.json.decode(saved["policy"], type=records.PolicyChange)))
        self.instances.load(saved.get("instances", []), self.policy)
        self.predictions.load(count, saved["predictions"])

    @property
    def bytes_per_gpu(self) -> int:
        """State per GPU, from what is declared."""
        tables = sum(table.bytes_per_gpu for table in (*self.tables, *self._own_tables))
        return tables + self.counters.bytes_per_gpu + 8 * len(self.rounds.sampled) + self.board.bytes_per_gpu
