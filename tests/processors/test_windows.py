"""Sliding windows against a naive list of events, at the resolution of a slot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.state import Table
from processors.windows import RateWindow

SLOTS, SLOT_S = 4, 10
ROWS = 3


class Naive:
    """The events of one GPU: (slot, count). A time before the newest counts as the newest."""

    def __init__(self) -> None:
        self.newest = 0
        self.events: list[tuple[int, int]] = []

    def add(self, ts: int, count: int) -> None:
        self.newest = max(self.newest, ts // (SLOT_S * 1000))
        self.events.append((self.newest, count))

    def sum(self) -> int:
        return sum(count for slot, count in self.events if slot > self.newest - SLOTS)


# Which rows, as the framework hands them over (positions, or all of them), when, and how many events.
ROW_SETS = st.one_of(st.none(), st.sets(st.integers(0, ROWS - 1), min_size=1).map(sorted))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "expire"]),
        ROW_SETS,
        st.lists(st.integers(0, 120_000), min_size=ROWS, max_size=ROWS),
        st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS),
    ),
    max_size=40,
)


@given(STEPS, st.booleans())
def test_sums_are_those_of_a_list_of_events(steps: list[tuple[str, Any, list[int], list[int]]], rising: bool) -> None:
    window = RateWindow("errors", slots=SLOTS, slot_s=SLOT_S)
    table = Table(window.columns, ROWS)
    naive = [Naive() for _ in range(ROWS)]
    for number, (what, some, moments, counts) in enumerate(steps):
        rows = range(ROWS) if some is None else some
        state = table.view(slice(0, ROWS) if some is None else np.array(some))
        ts = [moments[row] // 6 + number * 4_000 if rising else moments[row] for row in rows]
        for row, moment in zip(rows, ts, strict=True):
            naive[row].add(moment, counts[row] if what == "add" else 0)
        if what == "add":
            sums = window.add(state, np.array(ts), np.array([float(counts[row]) for row in rows]))
        else:
            sums = window.expire(state, np.array(ts))
        assert sums.tolist() == [naive[row].sum() for row in rows]


def test_an_event_leaves_with_its_slot() -> None:
    window = RateWindow("errors", slots=60, slot_s=60)
    state = Table(window.columns, 1).view(slice(0, 1))
    minute = 60_000
    assert window.add(state, np.array([minute]), np.array([3.0])) == 3
    assert window.expire(state, np.array([61 * minute - 1])) == 3
    assert window.expire(state, np.array([61 * minute])) == 0


@pytest.mark.parametrize("much", [2.0**32, 1e30, np.inf])
@pytest.mark.parametrize(("dtype", "most"), [("u4", 2.0**32 - 1), ("u2", 65_535.0)])
def test_a_slot_saturates_instead_of_wrapping(much: float, dtype: str, most: float) -> None:
    window = RateWindow("errors", slots=SLOTS, slot_s=SLOT_S, dtype=dtype)
    state = Table(window.columns, 1).view(slice(0, 1))
    for _ in range(2):
        assert window.add(state, np.array([0]), np.array([much])) == most
    assert window.expire(state, np.array([SLOTS * SLOT_S * 1000])) == 0
