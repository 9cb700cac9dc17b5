"""Counters, levels and flags: their newest values, and increases that survive restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.fields import FIELDS, Kind

Array = npt.NDArray[Any]


class Counters:
    """The newest and the last known value of every counter, level and flag, a row per field, a column per GPU."""

    def __init__(self, fields: list[int], capacity: int) -> None:
        self.fields = fields
        self.volatile = np.array([FIELDS[field].kind is Kind.COUNTER for field in fields], bool)
        self.level = np.full((len(fields), capacity), np.nan)  # NaN: blank, or never seen
        self.base = np.full((len(fields), capacity), np.nan)  # NaN: never seen

    def grow(self, capacity: int) -> None:
        for name in ("level", "base"):
            old = getattr(self, name)
            new = np.full((len(self.fields), capacity), np.nan)
            new[:, : old.shape[1]] = old
            setattr(self, name, new)

    def restart(self, rows: Array) -> None:
        """Machine or driver restarted: volatile counters count from zero, and every value is news."""
        self.level[:, rows] = np.nan
        restarted = self.volatile[:, None] & ~np.isnan(self.base[:, rows])
        self.base[:, rows] = np.where(restarted, 0.0, self.base[:, rows])

    def forget(self, rows: Array) -> None:
        self.level[:, rows] = np.nan
        self.base[:, rows] = np.nan

    def update(self, field_row: int, rows: Array, values: Array) -> Array:
        """Take over `values`; returns the increases: NaN where blank, 0 at first sight, restarts from zero.

        What no count can be (negative, infinite) is blank.
        """
        base = self.base[field_row]
        before = base[rows]
        increase: Array = values - before
        if (increase >= 0).all() and before.min() >= 0 and values.max() < np.inf:  # as most always
            self.level[field_row][rows] = values
            base[rows] = values
            return increase
        possible = (values >= 0) & (values < np.inf)
        if not possible.all():
            values = np.where(possible, values, np.nan)
            increase = values - before
        if (increase < 0).any():
            increase = np.where(increase < 0, values, increase)
        fresh = np.isnan(before)
        if fresh.any():
            increase[fresh & ~np.isnan(values)] = 0.0
        self.level[field_row][rows] = values
        blank = np.isnan(values)
        base[rows] = np.where(blank, before, values) if blank.any() else values
        return increase

    def save(self, count: int) -> dict[str, Any]:
        return {
            str(field): [self.level[at, :count].tobytes(), self.base[at, :count].tobytes()]
            for at, field in enumerate(self.fields)
        }

    def load(self, count: int, saved: dict[str, Any]) -> None:
        for at, field in enumerate(self.fields):
            if str(field) in saved:
                level, base = saved[str(field)]
                self.level[at, :count] = np.frombuffer(level)
                self.base[at, :count] = np.frombuffer(base)
