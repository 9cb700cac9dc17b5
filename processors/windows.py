"""Counting within a sliding window, per GPU, in a ring of equal slots: exact integers, no sums that drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from processors.state import Column, View

Array = npt.NDArray[Any]


SLOT_MAX = 0xFFFF_FFFF


class RateWindow:
    """The number of events in the last `slots` x `slot_s` seconds of node time, at the resolution of a slot.

    Declares the columns NAME (the sum), NAME_slot (the newest slot's number) and NAME_ring.
    """

    def __init__(self, name: str, slots: int, slot_s: int) -> None:
        self.name = name
        self.slots = slots
        self.slot_ms = slot_s * 1000
        self.columns = {
            name: Column("i8"),
            f"{name}_slot": Column("i8"),
            f"{name}_ring": Column("u4", cells=slots),
        }

    def add(self, state: View, ts: Array, counts: Array) -> Array:
        """Count `counts` (whole, >= 0) events at `ts` (ms) and return the sums, float64."""
        slot = self._advance(state, ts)
        whole = np.minimum(counts, SLOT_MAX).astype("i8")
        sums: Array = getattr(state, self.name)
        if whole.any():
            ring = getattr(state, f"{self.name}_ring")
            cells = slot % self.slots, ring.positions()
            before = ring.array[cells]
            after = np.minimum(before + whole, SLOT_MAX)  # a slot saturates instead of wrapping
            ring.array[cells] = after
            sums = sums + (after - before)
            setattr(state, self.name, sums)
        return sums.astype("f8")

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
