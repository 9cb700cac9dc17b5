"""Counters, levels and flags: their newest values, and increases that survive restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.fields import BLANK_INT64, FIELDS, SMALL_BLANKS, Kind

Array = npt.NDArray[Any]

NO_COUNT = float(BLANK_INT64)  # the sentinel of a 64-bit integer, as a double, and all that lies beyond
SMALL = sorted(SMALL_BLANKS)


class Counters:
    """The last known value of every counter, level and flag, and whether it is blank since: a row per field, a column
    per GPU.

    fields: id -> its row. restart_ms: [GPU] node time from which on the counters are those of another load of the
    driver, while no sample of it has come; 0 = none is awaited.
    """

    def __init__(self, fields: list[int], capacity: int) -> None:
        self.fields = {field: row for row, field in enumerate(fields)}
        self.volatile = np.array([FIELDS[field].kind is Kind.COUNTER for field in fields], bool)
        self.base = np.full((len(fields), capacity), np.nan)  # NaN: never seen
        self.blank = np.ones((len(fields), capacity), bool)
        self.restart_ms = np.zeros(capacity, "i8")

    def level(self, field_rows: Array | int, rows: Array) -> Array:
        """The newest values; NaN where blank, never seen, or not seen since a restart."""
        return np.where(self.blank[field_rows, rows], np.nan, self.base[field_rows, rows])

    def grow(self, capacity: int) -> None:
        for name, initial in (("base", np.nan), ("blank", True), ("restart_ms", 0)):
            old = getattr(self, name)
            new = np.full((*old.shape[:-1], capacity), initial, old.dtype)
            new[..., : old.shape[-1]] = old
            setattr(self, name, new)

    def restart_at(self, rows: Array, ts: int) -> None:
        """Samples from `ts` (node time, ms) on are of another load of the driver. Older ones may still come, as
        inventories travel faster.
        """
        self.restart_ms[rows] = max(ts, 1)

    def reach(self, rows: Array, began: Array, ended: Array) -> Array:
        """Samples from `began` to `ended` (node time, ms) come next. Returns whose counters restart before them: [GPU].
        A restart among them shows by itself, where a counter falls.
        """
        awaited = self.restart_ms[rows]
        due = (awaited > 0) & (awaited <= ended)
        restarts = due & (awaited <= began)
        self.restart_ms[rows[due]] = 0
        self.restart(rows[restarts])
        return np.asarray(restarts)

    def restart(self, rows: Array) -> None:
        """Machine or driver restarted: volatile counters count from zero, and every value is news."""
        self.blank[:, rows] = True
        restarted = self.volatile[:, None] & ~np.isnan(self.base[:, rows])
        self.base[:, rows] = np.where(restarted, 0.0, self.base[:, rows])

    def forget(self, rows: Array) -> None:
        self.blank[:, rows] = True
        self.base[:, rows] = np.nan
        self.restart_ms[rows] = 0

    def update(self, field_rows: Array, rows: Array, values: Array) -> tuple[Array, Array | None]:
        """Take over `values` [field, tick, GPU]; returns (increases, where they only grew, None: everywhere).

        Increases are NaN where blank, 0 at first sight, and count restarts from zero. What no count can be
        (negative, a sentinel, infinite) is blank, in `values` too. grew: [GPU].
        """
        place = field_rows[:, None], rows
        base = self.base[place]
        increases = np.empty_like(values)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            np.subtract(values[:, 0], base, out=increases[:, 0])
            np.subtract(values[:, 1:], values[:, :-1], out=increases[:, 1:])
        newest = values[:, -1]
        if increases.min() >= 0 and base.min() >= 0 and newest.max() < SMALL[0]:  # as most always
            self.blank[place] = False
            self.base[place] = newest
            return increases, None
        counts = (increases >= 0) & (values < NO_COUNT) & ~np.isin(values, SMALL)
        grew = np.asarray(counts.all(axis=(0, 1)) & (base >= 0).all(axis=0))
        odd = np.flatnonzero(~grew)
        known = newest.copy()
        known[:, odd] = base[:, odd]
        for tick in range(values.shape[1]):
            values[:, tick, odd], increases[:, tick, odd], known[:, odd] = _step(values[:, tick, odd], known[:, odd])
        self.blank[place] = np.isnan(values[:, -1])
        self.base[place] = known
        return increases, grew

    def save(self, count: int) -> dict[str, Any]:
        return {
            str(field): [self.blank[at, :count].tobytes(), self.base[at, :count].tobytes()]
            for field, at in self.fields.items()
        }

    def load(self, count: int, saved: dict[str, Any]) -> None:
        for field, at in self.fields.items():
            if str(field) in saved:
                blank, base = saved[str(field)]
                self.blank[at, :count] = np.frombuffer(blank, bool)
                self.base[at, :count] = np.frombuffer(base)

    @property
    def bytes_per_gpu(self) -> int:
        return len(self.fields) * (self.base.itemsize + self.blank.itemsize) + self.restart_ms.itemsize


def _step(values: Array, base: Array) -> tuple[Array, Array, Array]:
    """From the last known values to the next: (these, where they can be counts; the increases; the last known)."""
    values = np.where((values >= 0) & (values < NO_COUNT) & ~np.isin(values, SMALL), values, np.nan)
    increases = values - base
    increases = np.where(increases < 0, values, increases)
    blank = np.isnan(values)
    increases[np.isnan(base) & ~blank] = 0.0
    return values, increases, np.where(blank, base, values)
