"""From frames to waves: many nodes' frames of one shape become arrays, one tick of all their GPUs at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.counters import Counters
from processors.frames import Frames
from processors.layout import Shape
from processors.moves import find_moves, misplaced
from processors.state import Index

Array = npt.NDArray[Any]

ALL = slice(None)
NO_VALUE = 2.0**31 - 2.0**10  # DCGM's blank 32-bit integers, as float32, and all that lies beyond
NOTHING = np.empty((0, 0), bool)
TICKS_FALL = "ticks must rise"
CHANGES_FALL = "change_at must rise within the frame, behind its first tick"


def unsound(shape: Shape, frames: Frames) -> dict[int, str]:
    """What is wrong with the order of ticks or changes, by position in `frames` (sizes are checked before)."""
    wrong: dict[int, str] = {}
    rises = frames.ticks[:, 1:] > frames.ticks[:, :-1]
    if not rises.all():
        wrong = dict.fromkeys(np.flatnonzero(~rises.all(axis=1)).tolist(), TICKS_FALL)
    wrong |= dict.fromkeys(misplaced(shape, frames.change_at), CHANGES_FALL)
    return wrong


class Round:
    """One frame each of many nodes, all of one shape: R GPUs in all.

    rows: [R]. ended: [R] node time of the last tick, ms. moves: what its counters did; None if nothing.
    """

    def __init__(self, shape: Shape, frames: Frames, counters: Counters) -> None:
        self.layout, self.ticks, self.width = shape.layout, shape.ticks, shape.width
        self.frames = frames
        self.counters = counters
        self.rows: Array = np.frombuffer(b"".join([seat.raw_rows for seat in frames.seats]), "i8")
        self.ended: Array = (frames.ticks[:, -1] - frames.shift_ms).repeat(self.width)
        raw = np.frombuffer(b"".join(frames.gauge_values), "<f4")
        # A sentinel that a source has let through, or an infinity, is no measurement.
        if raw.size and not (np.fmax.reduce(raw) < NO_VALUE and np.fmin.reduce(raw) > -NO_VALUE):
            raw = np.where(np.abs(raw) < NO_VALUE, raw, np.float32(np.nan))
        self._raw = raw.reshape(len(frames.seats), self.layout.gauge_count, self.ticks, self.width)
        self._gauges: dict[int, Array] = {}
        self.moves = find_moves(shape, frames, self.rows, counters)

    @cached_property
    def ts(self) -> Array:
        """[T, R] node time, ms."""
        times = self.frames.ticks - self.frames.shift_ms[:, None]
        ts: Array = times.T.repeat(self.width, axis=1)
        ts.flags.writeable = False
        return ts

    def gauge(self, field: int) -> Array:
        """[T, R] values of a gauge of the layout, float64."""
        values = self._gauges.get(field)
        if values is None:
            values = np.empty((self.ticks, len(self.rows)))
            taken = self._raw[:, self.layout.gauges[field]].transpose(1, 0, 2)
            values.reshape(self.ticks, -1, self.width)[:] = taken
            values.flags.writeable = False  # all signals read the same array
            self._gauges[field] = values
        return values

    def known(self, field: int) -> Array:
        """[R] a counter as it stands after the round."""
        return self.counters.level(self.counters.fields[field], self.rows)

    @cached_property
    def informed(self) -> Array | None:
        """[R]: whether the newest tick holds any value at all; None: of every GPU.

        Counters count where there is no gauge.
        """
        informed = np.zeros(len(self.rows), bool)
        for at in range(self.layout.gauge_count):
            last = self._raw[:, at, -1].reshape(-1)
            informed |= last == last  # NaN differs from itself
            if informed.all():
                return None
        if not self.layout.gauge_count:
            raw = np.frombuffer(b"".join(self.frames.counter_values), "<f8")
            known = ~np.isnan(raw.reshape(len(self.frames.seats), -1, self.width)[:, self.layout.counter_at])
            informed = known.any(axis=1).reshape(-1)
        return informed


class BlockWave:
    """A `Wave` over all ticks of a round, one after the other, [ticks x GPUs], of all GPUs or those at `at`.

    For signals that find nothing new there, or for counters that only grow (`processors.signal.Growth`).
    before: [R] node time of the signal's sample before the round, 0 = none. inner: the same GPUs among those that
    move. moved: [tick, GPU] where they do.
    """

    __slots__ = ("_at", "_before", "_inner", "_round", "moved")

    def __init__(
        self, round_: Round, before: Array, at: Index = ALL, inner: Index = ALL, moved: Array = NOTHING
    ) -> None:
        self._round = round_
        self._before = before
        self._at = at
        self._inner = inner
        self.moved = moved

    @property
    def ts(self) -> Array:
        return self._round.ts[:, self._at].reshape(-1)

    @property
    def dt(self) -> Array:
        dt: Array = np.diff(self._round.ts, axis=0, prepend=self._before[None, :]) / 1000.0
        dt[0, self._before == 0] = np.nan
        return dt[:, self._at].reshape(-1)

    def __getitem__(self, field: int) -> Array:
        round_ = self._round
        if field in round_.layout.gauges:
            return round_.gauge(field)[:, self._at].reshape(-1)
        if field not in round_.counters.fields:
            return np.full(round_.ts[:, self._at].size, np.nan)
        if round_.moves is not None and field in round_.moves.fields:
            return self._block(round_.moves.values[round_.moves.fields[field]])
        return np.tile(round_.known(field)[self._at], round_.ticks)

    def increase(self, field: int) -> Array:
        moves = self._round.moves
        if moves is not None and field in moves.fields:
            return self._block(moves.increases[moves.fields[field]])
        return np.where(np.isnan(self[field]), np.nan, 0.0)

    def _block(self, values: Array) -> Array:
        return values[:, self._inner].reshape(-1)


class RoundWave:
    """A `Wave` over one tick of a round: all its GPUs, or those at the positions `at`.

    inner: positions among those that moved, where this is about counters; then `at` is where these are.
    """

    __slots__ = ("_at", "_before", "_inner", "_round", "_tick")

    def __init__(self, round_: Round, tick: int, at: Index, before: Array, inner: Array | None = None) -> None:
        self._round = round_
        self._tick = tick
        self._at = at
        self._inner = inner
        self._before = before  # [R] node time of this signal's sample before the round, 0 = none

    @property
    def ts(self) -> Array:
        return np.asarray(self._round.ts[self._tick, self._at])

    @property
    def dt(self) -> Array:
        before = self._round.ts[self._tick - 1] if self._tick else self._before
        dt: Array = (self._round.ts[self._tick] - before)[self._at] / 1000.0
        if not self._tick:
            dt[before[self._at] == 0] = np.nan
        return dt

    def __getitem__(self, field: int) -> Array:
        round_ = self._round
        if field in round_.layout.gauges:
            return np.asarray(round_.gauge(field)[self._tick, self._at])
        if field not in round_.counters.fields:
            return np.full(len(round_.rows[self._at]), np.nan)
        return self._counter(field, round_.moves.values if round_.moves is not None else None, round_.known)

    def increase(self, field: int) -> Array:
        def none(field: int) -> Array:
            return np.where(np.isnan(self._round.known(field)), np.nan, 0.0)

        moves = self._round.moves
        return self._counter(field, moves.increases if moves is not None else None, none)

    def _counter(self, field: int, moved: Array | None, still: Callable[[int], Array]) -> Array:
        """At this wave's GPUs: what `moved` says of those that move in this round, `still` of the others."""
        moves = self._round.moves
        if moves is None or moved is None or field not in moves.fields:
            return np.asarray(still(field)[self._at])
        values = moved[moves.fields[field], self._tick]
        if self._inner is not None:
            return np.asarray(values[self._inner])
        every = still(field)
        every[moves.at] = values
        return np.asarray(every[self._at])
