"""What a signal's `out` is: it compares findings with those before, and remembers which GPUs need a new verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from processors.board import Board, fault_bits
from processors.state import Index
from schemas.states import Action

Array = npt.NDArray[Any]


class Levels(dict[int, Array]):
    """The levels of some rows by signal, looked up when they are asked for."""

    def __init__(self, board: Board, rows: Index) -> None:
        self.board = board
        self.rows = rows

    def __missing__(self, at: int) -> Array:
        self[at] = self.board.level[at][self.rows]
        return self[at]


class Tick:
    """Some GPUs at one moment: what all signals say about them ends in one verdict each.

    rows: [N] distinct rows. ts: [N] ms. before: levels by signal, [N] each, kept up to date here.
    """

    def __init__(self, board: Board, rows: Array, ts: Array, before: Levels) -> None:
        self.board = board
        self.rows = rows
        self.ts = ts
        self.before = before
        self.visible: list[Array] = []  # positions of which a finding changed so that readers see it
        self.due: list[Array] = []  # positions that need a verdict all the same
        self.rates: list[tuple[int, Array, str, Array]] = []  # signal, positions, quantity, values

    def changed(self) -> Array:
        """Positions that need a verdict, rising."""
        every = [*self.visible, *self.due]
        return np.unique(np.concatenate(every)) if every else np.empty(0, "i8")


class Judgement:
    """`Out` (see `processors.signal`) of signal number `at` about the positions `where` of a tick."""

    __slots__ = ("_at", "_tick", "_where")

    def __init__(self, tick: Tick, at: int, where: Array | None = None) -> None:
        self._tick = tick
        self._at = at
        self._where = where  # None: all

    @property
    def size(self) -> int:
        """How many GPUs are at hand."""
        return len(self._tick.rows if self._where is None else self._where)

    def judge(
        self,
        classes: Array | int,
        *,
        where: Array | None = None,
        action: Action | None = None,
        hard: bool = False,
        corruption: bool = False,
        anew: bool = False,
        **evidence: Array | float,
    ) -> None:
        tick, at = self._tick, self._at
        where = self._where if where is None else where if self._where is None else self._where[where]
        levels = tick.before[at]
        before = levels if where is None else levels[where]
        different = classes != before
        fault = fault_bits(action, hard, corruption)
        rows = tick.before.rows if where is None else tick.rows[where]
        if fault and np.count_nonzero(classes > 0):  # the same class for a graver reason is news as well
            different = different | ((classes > 0) & (tick.board.findings["fault"][at][rows] != fault))
        if tick.board.required[at]:  # its first word counts, "cannot tell" too
            asked = tick.board.findings["since"][at][rows] > 0
            different = different | ~asked
        if anew:
            different = np.ones(before.shape, bool)
        if not np.count_nonzero(different):
            return
        differs = np.flatnonzero(different)
        quantity, value = next(iter(evidence.items()), ("", np.nan))
        classes = np.broadcast_to(np.asarray(classes, "i1"), before.shape)
        positions = differs if where is None else where[differs]
        new, old = classes[differs], before[differs]
        levels[positions] = new
        board = tick.board
        values = np.broadcast_to(np.asarray(value, "f8"), before.shape)[differs]
        rows = tick.rows[positions]
        board.write(at, rows, new, values, tick.ts[positions], fault)
        if quantity:
            board.quantities[at] = quantity
            if "_per_" in quantity:
                tick.rates.append((at, positions, quantity, values))
        visible = (new > 0) | (old > 0)
        if board.required[at]:
            visible |= asked[differs] | (new < 0)
        if visible.any():
            tick.visible.append(positions[visible])


class Trial:
    """An `Out` for several ticks at once, one after the other: tells of which GPUs nothing would be news.

    levels: [N] findings so far. size: ticks x N.
    """

    def __init__(self, levels: Array, ticks: int) -> None:
        self.levels = levels
        self.size = ticks * levels.size
        self.steady = np.ones(levels.size, bool)

    def judge(
        self,
        classes: Array | int,
        *,
        where: Array | None = None,
        action: Action | None = None,
        hard: bool = False,
        corruption: bool = False,
        anew: bool = False,
        **evidence: Array | float,
    ) -> None:
        if where is not None or anew:
            self.steady[:] = False
            return
        same = np.reshape(classes, (-1, self.levels.size if np.ndim(classes) else 1)) == self.levels
        if np.count_nonzero(same) < same.size:
            self.steady &= same.all(axis=0)
        if fault_bits(action, hard, corruption):  # perhaps a graver reason for the same class
            self.steady &= self.levels <= 0
