"""A choice at random in proportion to weights that change all the time.

A tree of running sums of whole numbers: drawing and changing cost O(log n), and no rounding error ever piles up, so
what weighs nothing is never drawn. Weights are floats from 0.0 to 1.0 and count in units of 2**-32; what is positive
counts for one unit at least. A node has 64 children, as one bisection of a list is cheaper than six steps of Python,
and nearer in memory: of 100,000 names a draw looks at three lists.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

UNITS = 1 << 32
FAN = 64
NOTHING = "nothing to draw: all weights are 0"


class Lottery:
    """Names with their weights. Not safe between threads: a `Table` is."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self.total = 0  # in units
        self._weights: dict[str, float] = {}
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._names: list[str] = []
        self._units = array("q")  # by slot
        self._levels = [[[0] * FAN]]  # the root's first; level[node][child]: units of the children up to and with it
        self._table: Table | None = None
        self._shared: _Names | None = None
        for name, weight in (weights or {}).items():
            self.set(name, weight)

    def __len__(self) -> int:
        return len(self._weights)

    def weight(self, name: str) -> float | None:
        return self._weights.get(name)

    def weights(self) -> dict[str, float]:
        """A copy."""
        return self._weights.copy()

    def set(self, name: str, weight: float) -> None:
        """Name weighs so much from now on. Raises ValueError: not from 0.0 to 1.0."""
        if not 0.0 <= weight <= 1.0:
            raise ValueError(f"{name}: weight {weight}: not between 0.0 and 1.0")
        slot = self._slots.get(name)
        if slot is None:
            slot = self._take_slot(name)
        self._weights[name] = weight
        self._put(slot, max(1, round(weight * UNITS)) if weight else 0)

    def remove(self, name: str) -> None:
        """Harmless where the name is not known."""
        slot = self._slots.pop(name, None)
        if slot is not None:
            del self._weights[name]
            self._put(slot, 0)
            self._free.append(slot)

    def draw(self, rng: random.Random) -> str:
        """One name. Raises IndexError: nothing weighs more than 0."""
        total = self.total
        if not total:
            raise IndexError(NOTHING)
        bits = total.bit_length()
        at = rng.getrandbits(bits)
        while at >= total:  # drawing anew is what keeps every unit exactly as likely as every other
            at = rng.getrandbits(bits)
        node = 0
        for level in self._levels:
            sums = level[node]
            child = bisect(sums, at)
            if child:
                at -= sums[child - 1]
            node = node * FAN + child
        return self._names[node]

    def table(self) -> Table:
        """For many draws at once, as of now; made anew only when something has changed."""
        if self._table is None:
            if self._shared is None:
                self._shared = _Names(self._names[:])
            self._table = Table(self._shared, self._units[:])
        return self._table

    def _take_slot(self, name: str) -> int:
        self._shared = None
        if self._free:
            slot = self._free.pop()
            self._names[slot] = name
        else:
            slot = len(self._names)
            self._names.append(name)
            self._units.append(0)
            self._make_room(slot)
        self._slots[name] = slot
        return slot

    def _put(self, slot: int, units: int) -> None:
        self._table = None
        more = units - self._units[slot]
        self._units[slot] = units
        self.total += more
        if more:
            for level in reversed(self._levels):
                slot, child = divmod(slot, FAN)
                sums = level[slot]
                sums[child:] = [units + more for units in sums[child:]]

    def _make_room(self, slot: int) -> None:
        """For the first slot that has none."""
        if slot == FAN ** len(self._levels):
            self._levels.insert(0, [[self.total] * FAN])
        for level in reversed(self._levels):
            slot, child = divmod(slot, FAN)
            if child:
                break
            if slot == len(level):
                level.append([0] * FAN)


class _Names:
    """Names by slot, as an array: shared by tables for as long as only weights change."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._array: Any = None

    def array(self) -> Any:
        if self._array is None:
            import numpy as np

            self._array = np.array(self._names, dtype=object)  # two threads that come at once make the same
        return self._array


class Table:
    """The weights of one moment, for draws by the million. Never changes."""

    def __init__(self, names: _Names, units: array[int]) -> None:
        self._names = names
        self._units = units
        self._below: Any = None  # by slot: the units up to and with it

    def draw(self, rng: np.random.Generator, n: int) -> list[str]:
        """n names, each drawn for itself. Raises IndexError: nothing weighs more than 0."""
        if self._below is None:
            import numpy as np

            self._below = np.cumsum(np.frombuffer(self._units, dtype=np.int64))
        if not len(self._below) or not self._below[-1]:
            raise IndexError(NOTHING)
        slots = self._below.searchsorted(rng.integers(self._below[-1], size=n), side="right")
        drawn: list[str] = self._names.array()[slots].tolist()
        return drawn
