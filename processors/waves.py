"""From frames to waves: many nodes' frames of one layout become arrays, one tick of all their GPUs at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from processors.counters import Counters
from processors.ingest import Frame, Layout
from processors.state import Index
from schemas.log import Record

Array = npt.NDArray[Any]

NO_VALUE = 2.0**31 - 2.0**10  # DCGM's blank 32-bit integers, as float32, and all that lies beyond
TICKS_FALL = "ticks must rise"


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A frame that was accepted, with its record, the rows of its GPUs, and what to subtract from its times.

    clock_ms, credit_ms: the stream clock and the credited time when it came.
    """

    frame: Frame
    record: Record
    rows: Array
    shift_ms: int
    clock_ms: int
    credit_ms: int


def unsound(layout: Layout, frames: Sequence[Placed]) -> dict[int, str]:
    """What is wrong with the order of ticks or changes, by position in `frames` (sizes are checked before)."""
    wrong: dict[int, str] = {}
    times = np.array([placed.frame.ticks for placed in frames], "i8")
    for number in np.flatnonzero((np.diff(times, axis=1) <= 0).any(axis=1)).tolist():
        wrong[number] = TICKS_FALL
    changing = [number for number, placed in enumerate(frames) if placed.frame.change_at]
    if changing:
        row = layout.counter_count * len(frames[0].rows)
        at = np.frombuffer(b"".join([frames[number].frame.change_at for number in changing]), "<u4").astype("i8")
        owner = np.repeat(changing, [len(frames[number].frame.change_at) // 4 for number in changing])
        outside = (at < row) | (at >= row * times.shape[1])
        falls = np.diff(at, prepend=-1) <= 0
        falls[1:] &= owner[1:] == owner[:-1]
        for number in np.unique(owner[outside | falls]).tolist():
            wrong[number] = "change_at must rise within the frame, behind its first tick"
    return wrong


class Changes(NamedTuple):
    """Counters of one tick that moved: position of the field among the layout's, of the GPU in the round, value."""

    field: Array
    gpu: Array
    value: Array


class Round:
    """One frame each of many nodes, all of one layout, as many ticks and as many GPUs: R GPUs in all.

    rows: [R]. ts: [T, R] ms. gauges: [T, field, R] float64.
    """

    def __init__(self, layout: Layout, frames: Sequence[Placed], counters: Counters) -> None:
        self.layout = layout
        self.counters = counters
        self.frames = frames
        number, ticks = len(frames), len(frames[0].frame.ticks)
        self.width = len(frames[0].rows)
        self.ticks = ticks
        self.rows = np.concatenate([placed.rows for placed in frames])
        times = np.array([placed.frame.ticks for placed in frames], "i8")
        times -= np.array([placed.shift_ms for placed in frames], "i8")[:, None]
        self.ts = np.repeat(times.T, self.width, axis=1)
        raw = np.frombuffer(b"".join([placed.frame.gauge_values for placed in frames]), "<f4")
        raw = raw.reshape(number, layout.gauge_count, ticks, self.width)
        # A sentinel that a source has let through, or an infinity, is no measurement.
        if (raw >= NO_VALUE).any() or (raw <= -NO_VALUE).any():
            raw = np.where(np.abs(raw) >= NO_VALUE, np.float32(np.nan), raw)
        gauges = np.empty((ticks, len(layout.gauge_at), number, self.width))
        for position, at in enumerate(layout.gauge_at):
            gauges[:, position] = raw[:, at].transpose(1, 0, 2)
        self.gauges = gauges.reshape(ticks, len(layout.gauge_at), number * self.width)
        self.first = self._first_values(number)
        self.informed = self._informed(raw)

    def _first_values(self, number: int) -> Array:
        """[field, R]: counters at the first tick, as they stand."""
        layout = self.layout
        raw = np.frombuffer(b"".join([placed.frame.counter_values for placed in self.frames]), "<f8")
        raw = raw.reshape(number, layout.counter_count, self.width)
        taken: Array = raw.transpose(1, 0, 2)[layout.counter_at]
        return taken.reshape(len(layout.counters), number * self.width)

    def _informed(self, raw: Array) -> Array:
        """[R]: whether the newest tick holds any value at all; counters count where there is no gauge."""
        if self.layout.gauge_count:
            return np.asarray(~np.isnan(raw[:, :, -1]).all(axis=1).reshape(-1))
        return np.asarray(~np.isnan(self.first).all(axis=0))

    def changes(self) -> Iterator[tuple[int, Changes]]:
        """(tick, what moved), for ticks with any. Compares bit by bit, so that a lasting blank is no change."""
        held = self.counters.level[self.layout.level_rows][:, self.rows]
        field, gpu = np.nonzero(self.first.view("i8") != held.view("i8"))
        if field.size:
            yield 0, Changes(field, gpu, self.first[field, gpu])
        later = [(n, placed.frame) for n, placed in enumerate(self.frames) if placed.frame.change_at]
        if not later:
            return
        at = np.frombuffer(b"".join([frame.change_at for _, frame in later]), "<u4").astype("i8")
        value = np.frombuffer(b"".join([frame.change_values for _, frame in later]), "<f8")
        counts = [len(frame.change_at) // 4 for _, frame in later]
        base = np.repeat(np.array([n for n, _ in later]) * self.width, counts)
        cell, gpu = np.divmod(at, self.width)
        tick, number = np.divmod(cell, self.layout.counter_count)
        field = self.layout.counter_position[number]
        gpu += base
        order = np.argsort(tick * (len(self.layout.counters) + 1) + field, kind="stable")
        order = order[field[order] >= 0]
        tick, field, gpu, value = tick[order], field[order], gpu[order], value[order]
        cuts = np.searchsorted(tick, np.arange(1, self.ticks + 1))
        for moment, (start, stop) in enumerate(pairwise(cuts.tolist()), 1):
            if stop > start:
                yield moment, Changes(field[start:stop], gpu[start:stop], value[start:stop])


class Increases:
    """What moved at one tick, by field: positions in the round (rising) and by how much."""

    def __init__(self, round_: Round, changes: Changes | None) -> None:
        self.by_field: dict[int, tuple[Array, Array]] = {}
        if changes is None:
            return
        layout, counters = round_.layout, round_.counters
        cuts = np.flatnonzero(np.diff(changes.field)) + 1
        starts = [0, *cuts.tolist()]
        for start, stop in zip(starts, [*starts[1:], len(changes.field)], strict=True):
            position = int(changes.field[start])
            gpus = changes.gpu[start:stop]
            increase = counters.update(int(layout.level_rows[position]), round_.rows[gpus], changes.value[start:stop])
            self.by_field[layout.counters[position]] = gpus, increase


class BlockWave:
    """A `Wave` over all ticks of a round at once, [T x R]: for signals that keep nothing from tick to tick."""

    __slots__ = ("_before", "_round")

    def __init__(self, round_: Round, before: Array) -> None:
        self._round = round_
        self._before = before  # [R] node time of this signal's sample before the round, 0 = none

    @property
    def ts(self) -> Array:
        return self._round.ts.reshape(-1)

    @property
    def dt(self) -> Array:
        dt: Array = np.diff(self._round.ts, axis=0, prepend=self._before[None, :]) / 1000.0
        dt[0, self._before == 0] = np.nan
        return dt.reshape(-1)

    def __getitem__(self, field: int) -> Array:
        position = self._round.layout.gauges.get(field)
        if position is None:
            return np.full(self._round.ts.size, np.nan)
        return self._round.gauges[:, position].reshape(-1)

    def increase(self, field: int) -> Array:
        raise AssertionError(f"field {field} is no counter of this signal's")


class RoundWave:
    """A `Wave` over one tick of a round: all its GPUs, or those at the positions `at`."""

    __slots__ = ("_at", "_before", "_increases", "_round", "_tick")

    def __init__(self, round_: Round, tick: int, at: Index, increases: Increases, before: Array) -> None:
        self._round = round_
        self._tick = tick
        self._at = at
        self._increases = increases
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
        layout = self._round.layout
        if field in layout.gauges:
            return np.asarray(self._round.gauges[self._tick, layout.gauges[field], self._at])
        rows = self._round.rows[self._at]
        if field in self._round.counters.fields:
            return np.asarray(self._round.counters.level[self._round.counters.fields.index(field), rows])
        return np.full(len(rows), np.nan)

    def increase(self, field: int) -> Array:
        moved = self._increases.by_field.get(field)
        if moved is not None and moved[0] is self._at:
            return moved[1]
        rows = self._round.rows
        known = self._round.counters.level[self._round.counters.fields.index(field), rows]
        increases: Array = np.where(np.isnan(known), np.nan, 0.0)
        if moved is not None:
            increases[moved[0]] = moved[1]
        return np.asarray(increases[self._at])
