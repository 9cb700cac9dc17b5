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
from processors.ingest import Layout, Roster
from processors.judgement import Judgement, Probe, Tick
from processors.kernel_faults import FaultLog
from processors.node_output import Cause, NodeOutput
from processors.policy import Policy
from processors.presence import Presence
from processors.signal import Event, Signal
from processors.state import Table, View
from processors.waves import BlockWave, Increases, Placed, Round, RoundWave
from schemas import records
from schemas.fields import FIELDS, Kind

Array = npt.NDArray[Any]

ALL = slice(None)
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
        self._gauges = [{f for f in signal.fields if self.wanted[f] < 0} for signal in signals]
        self._changing = [{f for f in signal.fields if self.wanted[f] >= 0} for signal in signals]
        self.counters = Counters(changing, self.capacity)
        self.board = Board(signals, self.capacity)
        self.presence = Presence(self.capacity)
        self.tables = [Table(signal.columns, self.capacity) for signal in signals]
        self.sampled = np.zeros((len(signals), self.capacity), "i8")  # newest sample of each signal, node ms
        self.out = NodeOutput(roster, self.board)
        self.policy = policies.from_document("default", {})
        self.apply(self.policy)

    def apply(self, policy: Policy) -> None:
        """Judge by `policy` from now on."""
        self.policy = policy
        self.board.apply(policy)
        self._own = [policy.of(signal) for signal in self.signals]

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
                self._reset(place.row, credit_ms)
                self.out.gone(cause, place.row, place.replaced, clock_ms)
            if place.displaced is not None and place.displaced not in rows:
                self.out.gone(cause, place.row, self.roster.uuid_of[place.displaced], clock_ms)
                self._retire(place.displaced)
            if place.absorbed is not None:
                self._absorb(place.row, place.absorbed)
            if place.named or place.absorbed is not None:
                self.out.renamed(cause, place.row)
            if place.named or place.moved:
                self._one(cause, place.row, clock_ms, clock_ms, lambda at, state, out: None, always=True)
        return np.array(rows, "i8")

    def _fit(self) -> None:
        if len(self.roster) > self.capacity:
            while self.capacity < len(self.roster):
                self.capacity *= 2
            self.counters.grow(self.capacity)
            self.board.grow(self.capacity)
            for table in (*self.tables, self.presence.table):
                table.grow(self.capacity)
            sampled = np.zeros((len(self.signals), self.capacity), "i8")
            sampled[:, : self.sampled.shape[1]] = self.sampled
            self.sampled = sampled

    def _reset(self, row: int, credit_ms: int) -> None:
        """Another GPU stands there: nothing of what is known of the one before holds."""
        rows = np.array([row])
        self.counters.forget(rows)
        self.board.reset(rows)
        for table in (*self.tables, self.presence.table):
            table.reset(rows)
        self.sampled[:, rows] = 0
        self.presence.table.columns["created"][rows] = credit_ms
        self.faults.forget(row)

    def _retire(self, row: int) -> None:
        self.roster.retire(row)
        self._reset(row, 0)
        self.presence.table.columns["retired"][row] = 1

    def _absorb(self, row: int, former: int) -> None:
        """`former` was the same GPU, known by its BDF alone, so that only kernel faults can be known of it."""
        for at, signal in enumerate(self.signals):
            by_events = type(signal).on_event is not Signal.on_event
            if by_events and self.board.level[at, former] > self.board.level[at, row]:
                self.tables[at].copy(former, row)
                self.board.copy(at, former, row)
        self._retire(former)

    # --- what signals are asked ----------------------------------------------------------------------------------

    def frames(self, layout: Layout, frames: list[Placed]) -> None:
        """One frame each of many nodes."""
        round_ = Round(layout, frames, self.counters)
        rows = round_.rows
        self.presence.saw(round_)
        changes = dict(round_.changes())
        dense = [
            at
            for at, gauges in enumerate(self._gauges)
            if self.board.enabled[at] and not gauges.isdisjoint(layout.gauges)
        ]
        levels = self.board.level.take(rows, axis=1)
        active = [at for at in dense if not self._at_rest(at, round_, levels[at])]
        gathered = {at: self.tables[at].gather(rows) for at in active}
        sampled = {at: self.sampled[at, rows] for at in active}
        for number in range(round_.ticks):
            tick = Tick(self.board, rows, round_.ts[number], levels)
            increases = Increases(round_, changes.get(number))
            for at in active:
                state = View(gathered[at], ALL, self.tables[at].vectors, rows)
                wave = RoundWave(round_, number, ALL, increases, sampled[at])
                self.signals[at].on_samples(wave, state, self._own[at], Judgement(tick, at))
            for at, fields in enumerate(self._changing if increases.by_field else ()):
                moved = [increases.by_field[field][0] for field in fields if field in increases.by_field]
                if moved and self.board.enabled[at]:
                    where = moved[0] if len(moved) == 1 else np.unique(np.concatenate(moved))
                    if at in gathered:
                        state = View(gathered[at], where, self.tables[at].vectors, rows[where])
                    else:
                        state = self.tables[at].view(rows[where])
                    wave = RoundWave(round_, number, where, increases, self.sampled[at, rows])
                    self.signals[at].on_change(wave, state, self._own[at], Judgement(tick, at, where))
            if tick.visible or tick.rates:
                self._round_verdicts(tick, round_, number)
        for at in active:
            self.tables[at].scatter(rows, gathered[at])
        for at in dense:
            self.sampled[at, rows] = round_.ts[-1]

    def _at_rest(self, at: int, round_: Round, levels: Array) -> bool:
        """Whether a signal that keeps nothing finds nothing new in the whole round: asked once, not once a tick."""
        signal = self.signals[at]
        if signal.columns or signal.required or self._changing[at]:
            return False
        probe = Probe(levels, round_.ticks)
        nothing = View({}, ALL, {}, ALL)
        signal.on_samples(BlockWave(round_, self.sampled[at, round_.rows]), nothing, self._own[at], probe)
        return probe.at_rest

    def _round_verdicts(self, tick: Tick, round_: Round, number: int) -> None:
        def cause(position: int) -> Cause:
            frame, gpu = divmod(position, round_.width)
            record = round_.frames[frame].record
            return Cause(record.offset, record.ts, number, gpu)

        clock = np.array([placed.clock_ms for placed in round_.frames])
        self._verdicts(tick, cause, lambda positions: clock[positions // round_.width])

    def timer(self, cause: Cause, now_ms: int, credit_ms: int, *, new_policy: bool = False) -> None:
        """All GPUs, at a point of the timer grid or when the policy changed."""
        count = len(self.roster)
        tick = Tick(self.board, np.arange(count), np.full(count, now_ms), self.board.level[:, :count].copy())
        fleet = self.presence.fleet(now_ms, credit_ms, count, new_policy=new_policy)
        for at, signal in enumerate(self.signals):
            if self.board.enabled[at]:
                state = self.tables[at].view(slice(0, count))
                signal.on_timer(fleet, state, self._own[at], Judgement(tick, at))
        tick.due.append(self.board.improving(count))
        if new_policy:
            tick.visible.append(self.board.touched(count))
        beat = int(self.policy.values.node.rates_every_s * 1000)
        if now_ms % beat < GRID_MS:
            self._heartbeat(cause, now_ms, count)
        self._verdicts(
            tick,
            lambda position: cause._replace(gpu=position),
            lambda positions: np.full(len(positions), now_ms),
            late=True,
        )

    def event(self, cause: Cause, row: int, event: Event) -> None:
        """A kernel fault of one GPU."""
        self._one(
            cause,
            row,
            event.ts,
            event.clock_ms,
            lambda at, state, out: self.signals[at].on_event(event, state, self._own[at], out),
        )

    def restore_gpu(self, cause: Cause, row: int, clock_ms: int) -> None:
        """An operator vouches for the GPU: latches open, and the verdict improves without waiting."""
        self.board.verdicts.columns["held"][row] = 1.0
        self._one(
            cause,
            row,
            clock_ms,
            clock_ms,
            lambda at, state, out: self.signals[at].on_restore(state, self._own[at], out),
            always=True,
        )

    def _one(
        self,
        cause: Cause,
        row: int,
        ts: int,
        clock_ms: int,
        ask: Callable[[int, View, Judgement], None],
        *,
        always: bool = False,
    ) -> None:
        rows = np.array([row])
        tick = Tick(self.board, rows, np.array([ts]), self.board.level.take(rows, axis=1))
        for at in np.flatnonzero(self.board.enabled):
            ask(int(at), self.tables[at].view(rows), Judgement(tick, int(at)))
        if always:
            tick.visible.append(np.array([0]))
        self._verdicts(tick, lambda _: cause, lambda positions: np.array([clock_ms] * len(positions)))

    # --- what follows from their findings --------------------------------------------------------------------------

    def _verdicts(
        self,
        tick: Tick,
        cause: Callable[[int], Cause],
        clock: Callable[[Array], Array],
        *,
        late: bool = False,
    ) -> None:
        retired = self.presence.table.columns["retired"]
        for at, positions, quantity, values in tick.rates:
            for position, value in zip(positions.tolist(), values.tolist(), strict=True):
                if retired[tick.rows[position]]:
                    continue
                row, level = int(tick.rows[position]), int(tick.before[at, position])
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
            self.out.verdict(cause(position), int(tick.rows[position]), int(tick.ts[position]))

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
            "signals": {
                signal.name: [self.sampled[at, :count].tobytes(), self.tables[at].save(count)]
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
        for at, signal in enumerate(self.signals):
            if signal.name in saved["signals"]:
                sampled, table = saved["signals"][signal.name]
                self.sampled[at, :count] = np.frombuffer(sampled, "i8")
                self.tables[at].load(count, table)
        self.apply(policies.from_change(msgspec.json.decode(saved["policy"], type=records.PolicyChange)))

    @property
    def bytes_per_gpu(self) -> int:
        """State per GPU, from what is declared."""
        tables = sum(table.bytes_per_gpu for table in (*self.tables, self.presence.table))
        return tables + 16 * len(self.counters.fields) + 8 * len(self.signals) + self.board.bytes_per_gpu
