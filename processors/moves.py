"""Which counters of a round moved, at which ticks, and to what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.counters import Counters
from processors.frames import Frames
from processors.layout import Shape

Array = npt.NDArray[Any]


class Moves(NamedTuple):
    """Those fields and GPUs of a round that moved at any tick, as blocks [field, tick, GPU].

    fields: id -> number. at: [GPU] positions in the round, rising. moved: where a value is news (also one that
    repeats the value before). values: as they stand at each tick. increases: see `Counters.update`. grew: [GPU]
    whether all of its counters only grew; None: of every GPU.
    """

    fields: dict[int, int]
    at: Array
    moved: Array
    values: Array
    increases: Array
    grew: Array | None


def find_moves(shape: Shape, frames: Frames, rows: Array, counters: Counters) -> Moves | None:
    """What moved; None if nothing did. The counters are taken over.

    Most frames say of counters what the one before said, to the byte: only the others are looked at.
    """
    layout, seats = shape.layout, frames.seats
    news = [n for n, told in enumerate(frames.counter_values) if told != seats[n].told or frames.change_at[n]]
    if not news or not layout.counters:
        return None
    at = np.arange(len(rows))
    if len(news) < len(seats):
        at = at.reshape(-1, shape.width)[news].reshape(-1)
    raw = np.frombuffer(b"".join([frames.counter_values[n] for n in news]), "<f8")
    raw = raw.reshape(len(news), layout.counter_count, shape.width)
    first = raw.transpose(1, 0, 2)[layout.counter_at].reshape(len(layout.counters), -1)
    held = counters.level(layout.level_rows[:, None], rows[at])
    fresh = first.view("i8") != held.view("i8")  # bit by bit, so that a lasting blank is no news
    _remember(frames, news, fresh.reshape(len(fresh), len(news), shape.width))
    changes = _read_changes(shape, frames, news)
    fields, gpus = fresh.any(axis=1), fresh.any(axis=0)
    if changes is not None:
        changes.mark(fields, gpus)
    if not fields.any():
        return None
    chosen, inner = np.flatnonzero(fields), np.flatnonzero(gpus)
    moved = np.zeros((len(chosen), shape.ticks, len(inner)), bool)
    values = np.empty(moved.shape)
    moved[:, 0] = fresh[chosen[:, None], inner]
    values[:] = first[chosen[:, None], inner][:, None]
    if changes is not None:
        changes.put(values, moved, fields.cumsum() - 1, gpus.cumsum() - 1)
    increases, grew = counters.update(layout.level_rows[chosen], rows[at[inner]], values)
    values.flags.writeable = increases.flags.writeable = False  # all signals read the same arrays
    ids = {layout.counters[field]: number for number, field in enumerate(chosen.tolist())}
    return Moves(ids, at[inner], moved, values, increases, grew)


def _remember(frames: Frames, news: Sequence[int], fresh: Array) -> None:
    """A frame that tells what is known already, and no changes, is what the next one is compared with."""
    differs = np.asarray(fresh.any(axis=(0, 2)))
    for number, different in zip(news, differs.tolist(), strict=True):
        same = not different and not frames.change_at[number]
        frames.seats[number].told = frames.counter_values[number] if same else None


class _Everywhere:
    """Changes of counters that move at every tick, on every GPU: `values` [field, tick - 1, GPU] of `fields`."""

    def __init__(self, fields: Array, values: Array) -> None:
        self.fields = fields
        self.values = values

    def mark(self, fields: Array, gpus: Array) -> None:
        """Mark the fields and GPUs with changes."""
        fields[self.fields] = True
        gpus[:] = True

    def put(self, values: Array, moved: Array, numbers: Array, inner: Array) -> None:
        """Lay the changes over `values`: numbers, inner: where a field, a GPU is among those that are marked."""
        values[numbers[self.fields], 1:] = self.values
        moved[numbers[self.fields], 1:] = True


class _Here:
    """Changes one by one: which field of which GPU got which value at which tick, in the order of ticks."""

    def __init__(self, field: Array, tick: Array, gpu: Array, value: Array) -> None:
        self.field, self.tick, self.gpu, self.value = field, tick, gpu, value

    def mark(self, fields: Array, gpus: Array) -> None:
        fields[self.field] = True
        gpus[self.gpu] = True

    def put(self, values: Array, moved: Array, numbers: Array, inner: Array) -> None:
        place = numbers[self.field], self.tick, inner[self.gpu]
        values[place] = self.value
        moved[place] = True
        for tick in range(1, values.shape[1]):
            np.copyto(values[:, tick], values[:, tick - 1], where=~moved[:, tick])


def _read_changes(shape: Shape, frames: Frames, news: Sequence[int]) -> _Everywhere | _Here | None:
    changing = [number for number in news if frames.change_at[number]]
    if not changing:
        return None
    value = np.frombuffer(b"".join([frames.change_values[number] for number in changing]), "<f8")
    told = [frames.change_at[number] for number in changing]
    if len(changing) == len(news) and told.count(told[0]) == len(told):
        kinds = _everywhere(shape, np.frombuffer(told[0], "<u4").astype("i8"))
        if kinds is not None:
            fields = shape.layout.counter_position[kinds]
            read = np.flatnonzero(fields >= 0)
            if not read.size:
                return None
            cells = value.reshape(len(news), shape.ticks - 1, len(kinds), shape.width)[:, :, read]
            values = cells.transpose(2, 1, 0, 3).reshape(len(read), shape.ticks - 1, -1)
            return _Everywhere(fields[read], values)
    field, tick, gpu = _places(shape, np.frombuffer(b"".join(told), "<u4"))
    number = np.searchsorted(news, changing).repeat([len(at) // 4 for at in told])
    read = np.flatnonzero(field >= 0)
    if not read.size:
        return None
    return _Here(field[read], tick[read], (number * shape.width + gpu)[read], value[read])


def _everywhere(shape: Shape, at: Array) -> Array | None:
    """The counters that change, if at every tick but the first each of them does so on every GPU."""
    row, later = shape.layout.counter_count * shape.width, shape.ticks - 1
    if len(at) % (later * shape.width):
        return None
    kinds: Array = at[: len(at) // later : shape.width] // shape.width - shape.layout.counter_count
    cells = kinds[:, None] * shape.width + np.arange(shape.width)
    expected = cells.reshape(-1) + row * np.arange(1, shape.ticks)[:, None]
    return kinds if (at == expected.reshape(-1)).all() else None


def _places(shape: Shape, at: Array) -> tuple[Array, Array, Array]:
    """(field among the layout's, -1: nobody reads it; tick; GPU of the frame) of positions in [tick, counter, GPU]."""
    at = at.astype("i8")
    cell = at // shape.width
    tick = cell // shape.layout.counter_count
    return shape.layout.counter_position[cell - tick * shape.layout.counter_count], tick, at - cell * shape.width


def misplaced(shape: Shape, change_at: Sequence[bytes]) -> list[int]:
    """Numbers of the frames in which the changes do not rise, or lie outside, or in the first tick."""
    changing = [number for number, at in enumerate(change_at) if at]
    if not changing:
        return []
    told = [change_at[number] for number in changing]
    alike = told.count(told[0]) == len(told)  # what moves all the time often moves everywhere
    at = np.frombuffer(told[0] if alike else b"".join(told), "<u4").astype("i8")
    owner = np.repeat([0] if alike else changing, [len(each) // 4 for each in (told[:1] if alike else told)])
    row = shape.layout.counter_count * shape.width
    falls = at[1:] <= at[:-1]
    wrong = (at < row) | (at >= row * shape.ticks)
    wrong[1:] |= falls & (owner[1:] == owner[:-1])
    if not wrong.any():
        return []
    return changing if alike else np.unique(owner[wrong]).tolist()
