"""What a signal's `out` is: it compares findings with those before, and remembers which GPUs need a new verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from processors.board import Board, fault_bits
from schemas.states import Action

Array = npt.NDArray[Any]


class Tick:
    """Some GPUs at one moment: what all signals say about them ends in one verdict each.

    rows: [N] distinct rows. ts: [N] ms. before: [signals, N] levels, kept up to date here.
    """

    def __init__(self, board: Board, rows: Array, ts: Array, before: Array) -> None:
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
        before = tick.before[at] if where is None else tick.before[at, where]
        different = classes != before
        fault = fault_bits(action, hard, corruption)
        if fault:  # the same class for a graver reason is news as well
            rows = tick.rows if where is None else tick.rows[where]
            different = different | ((classes > 0) & (tick.board.findings["fault"][at, rows] != fault))
        if tick.board.required[at]:  # its first word counts, "cannot tell" too
            rows = tick.rows if where is None else tick.rows[where]
            asked = tick.board.findings["since"][at, rows] > 0
            different = different | ~asked
        if anew:
            different = np.ones(before.shape, bool)
        differs = np.flatnonzero(different)
        if not differs.size:
            return
        quantity, value = next(iter(evidence.items()), ("", np.nan))
        classes = np.broadcast_to(np.asarray(classes, "i1"), before.shape)
        positions = differs if where is None else where[differs]
        new, old = classes[differs], before[differs]
        tick.before[at, positions] = new
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


class Probe:
    """An `Out` for several ticks at once that only tells whether anything would be news.

    levels: [N] findings so far. size: N x ticks.
    """

    def __init__(self, levels: Array, ticks: int) -> None:
        self._levels = levels
        self.size = levels.size * ticks
        self.at_rest = True

    def judge(
        self,
        classes: Array | int,
        *,
        where: Array | None = None,
        anew: bool = False,
        action: Action | None = None,
        hard: bool = False,
        corruption: bool = False,
        **evidence: Array | float,
    ) -> None:
        perhaps_graver = bool(fault_bits(action, hard, corruption)) and bool((self._levels > 0).any())
        told = np.broadcast_to(np.asarray(classes), self.size).reshape(-1, self._levels.size)
        news = where is not None or anew or perhaps_graver or bool((told != self._levels).any())
        self.at_rest = self.at_rest and not news
