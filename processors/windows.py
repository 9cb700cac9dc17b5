"""Counting within a sliding window, per GPU, in a ring of equal slots: exact integers, no sums that drift."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.state import Column, View

Array = npt.NDArray[Any]


class Foreseen(NamedTuple):
    """What counting a whole frame would do to the windows of N GPUs; see `RateWindow.foresee`.

    bounds: [K, N] sums between which all those of the frame lie. simple: [N] whether that holds: nothing but the
    slot at hand and the next one is counted for. sums, slot: in the end. cell, full: of the slot at hand, and what it
    then holds; after: of the next one, 0 where it is not reached.
    """

    bounds: Array
    simple: Array
    sums: Array
    slot: Array
    cell: Array
    full: Array
    after: Array | None = None


class RateWindow:
    """The number of events in the last `slots` x `slot_s` seconds of node time, at the resolution of a slot.

    Declares the columns NAME (the sum), NAME_slot (the newest slot's number) and NAME_ring. dtype: of a slot, whose
    count stops at the most that it can hold.
    """

    def __init__(self, name: str, slots: int, slot_s: int, dtype: str = "u4") -> None:
        self.name = name
        self.slots = slots
        self.slot_max = int(np.iinfo(dtype).max)
        self.slot_ms = slot_s * 1000
        self.columns = {
            name: Column("i8"),
            f"{name}_slot": Column("i8"),
            f"{name}_ring": Column(dtype, cells=slots),
        }

    def add(self, state: View, ts: Array, counts: Array) -> Array:
        """Count `counts` (whole, >= 0) events at `ts` (ms) and return the sums, float64."""
        slot = self._advance(state, ts)
        whole = np.minimum(counts, self.slot_max).astype("i8")
        sums: Array = getattr(state, self.name)
        if whole.any():
            ring = getattr(state, f"{self.name}_ring")
            cells = slot % self.slots, ring.positions()
            before = ring.array[cells]
            after = np.minimum(before + whole, self.slot_max)  # a slot saturates instead of wrapping
            ring.array[cells] = after
            sums = sums + (after - before)
            setattr(state, self.name, sums)
        return sums.astype("f8")

    def remove(self, state: View, ts: Array) -> Array:
        """Take one event at `ts` (ms) back, where one is still counted, and return the sums, float64."""
        newest, sums = getattr(state, f"{self.name}_slot"), getattr(state, self.name)
        ring, slot = getattr(state, f"{self.name}_ring"), ts // self.slot_ms
        cells = slot % self.slots, ring.positions()
        counted = (newest - slot < self.slots) & (slot <= newest) & (ring.array[cells] > 0)
        ring.array[cells] -= counted.astype("u4")
        setattr(state, self.name, sums - counted)
        return self.sums(state)

    def foresee(self, state: View, ts: Array, counts: Array, moved: Array) -> Foreseen:
        """What `add` at every tick at which a GPU `moved` would do, all at once: [tick, N], no counts elsewhere.

        Changes nothing; that is up to `take`.
        """
        sums, slot = getattr(state, self.name), getattr(state, f"{self.name}_slot")
        ring = getattr(state, f"{self.name}_ring")
        rows, cell = ring.positions(), slot % self.slots
        held = ring.array[cell, rows]
        whole = np.minimum(counts, self.slot_max).astype("i8")
        here = whole.sum(axis=0)
        newest = ts[-1] if moved[-1].all() else np.where(moved, ts, 0).max(axis=0)
        steps = newest // self.slot_ms - slot
        if steps.max() <= 0:
            full = np.minimum(held + here, self.slot_max)
            end = sums + (full - held)
            return Foreseen(np.stack([sums, end]), np.ones(len(rows), bool), end, slot, cell, full)
        after = np.where(ts >= (slot + 1) * self.slot_ms, whole, 0).sum(axis=0)
        full = np.minimum(held + (here - after), self.slot_max)
        after = np.minimum(after, self.slot_max)
        before, steps = sums + (full - held), np.maximum(steps, 0)
        leaves = ring.array[(cell + 1) % self.slots, rows]
        left = ring.array[:, rows].sum(axis=0, dtype="i8") + (full - held) - leaves
        left = np.where((steps > 0) & (before > 0), left, before)
        simple = steps <= min(1, self.slots - 1)
        bounds = np.stack([sums, before, left, left + after])
        return Foreseen(bounds, simple, left + after, slot + steps, cell, full, after)

    def take(self, state: View, foreseen: Foreseen, where: Array) -> None:
        """Let what is foreseen happen to the GPUs `where` (a mask), all of them simple."""
        ring = getattr(state, f"{self.name}_ring")
        rows, cell, full = ring.positions(), foreseen.cell, foreseen.full
        every = bool(where.all())
        ring.array[(cell, rows) if every else (cell[where], rows[where])] = full if every else full[where]
        sums = getattr(state, self.name)
        setattr(state, self.name, foreseen.sums if every else np.where(where, foreseen.sums, sums))
        if foreseen.after is not None:
            slot = getattr(state, f"{self.name}_slot")
            on = where & (foreseen.slot > slot)
            ring.array[(cell[on] + 1) % self.slots, rows[on]] = foreseen.after[on]
            setattr(state, f"{self.name}_slot", np.where(where, foreseen.slot, slot))

    def expire(self, state: View, ts: Array) -> Array:
        """Let what left the window go, and return the sums, float64. `ts`: ms, never earlier than before."""
        self._advance(state, ts)
        return self.sums(state)

    def sums(self, state: View) -> Array:
        sums: Array = getattr(state, self.name).astype("f8")
        return sums

    def _advance(self, state: View, ts: Array) -> Array:
        """Move each ring to the slot of `ts`; slots never go back. Returns the slot numbers."""
        newest = getattr(state, f"{self.name}_slot")
        slot: Array = np.maximum(newest, ts // self.slot_ms)
        moved = slot != newest
        if not moved.any():
            return slot
        setattr(state, f"{self.name}_slot", slot)
        stale = np.flatnonzero(moved & (getattr(state, self.name) > 0))
        if stale.size:
            ring = getattr(state, f"{self.name}_ring")
            rows = ring.positions()[stale]
            cell = np.arange(self.slots)[:, None]
            age = (newest[stale] - cell) % self.slots + (slot - newest)[stale]  # in slots, of each cell
            kept = np.where(age < self.slots, ring.array[:, rows], 0)
            ring.array[:, rows] = kept
            sums = getattr(state, self.name)
            sums[stale] = kept.sum(axis=0, dtype="i8")
            setattr(state, self.name, sums)
        return slot
