"""The signals' judgement of a round: of all its ticks at once where that comes to the same, else tick by tick.

It comes to the same because a signal judges each GPU by itself. Where it neither finds anything new at any tick nor
would write anything else to the state than what is there, asking it tick by tick would find and write nothing either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.board import Board
from processors.counters import Counters
from processors.judgement import Judgement, Levels, Tick, Trial
from processors.layout import Layout
from processors.signal import Signal
from processors.state import BlockView, Index, Table, View
from processors.waves import ALL, BlockWave, Round, RoundWave

Array = npt.NDArray[Any]

BUSY_MAX = 15  # rounds: how long a signal that is hardly ever at rest goes tick by tick unasked


class _Sampled(NamedTuple):
    """Signal number `at` samples the GPUs at `positions` tick by tick; its state lies in `gathered` meanwhile."""

    at: int
    positions: Index
    rows: Array
    before: Array
    gathered: dict[str, Array]


class _Changed(NamedTuple):
    """Signal number `at` sees those GPUs tick by tick that `moved` [tick, GPU]; inner: their numbers in the moves."""

    at: int
    inner: Array
    moved: Array
    before: Array


class Rounds:
    """Asks all signals. sampled: [row] node time of the newest sample, ms, 0 = none, by number of each signal that
    reads gauges.
    """

    def __init__(self, signals: Sequence[Signal], tables: Sequence[Table], board: Board, counters: Counters) -> None:
        self.signals = signals
        self.tables = tables
        self.board = board
        self.counters = counters
        self._changing = [{field for field in signal.fields if field in counters.fields} for signal in signals]
        self._gauges = [set(signal.fields) - changing for signal, changing in zip(signals, self._changing, strict=True)]
        self.sampled = {at: np.zeros(board.level.shape[1], "i8") for at, own in enumerate(self._gauges) if own}
        self._in_blocks = [
            not (signal.required or table.vectors) for signal, table in zip(signals, tables, strict=True)
        ]
        self._grows = [_grows(type(signal)) for signal in signals]
        self._busy = [0] * len(signals)  # for how many rounds from now
        self._lately = [0] * len(signals)  # for how many it was last time: more each time
        self._of_layout: dict[Layout, list[int]] = {}

    def grow(self, capacity: int) -> None:
        for at, old in self.sampled.items():
            self.sampled[at] = np.zeros(capacity, "i8")
            self.sampled[at][: len(old)] = old

    def judge(self, round_: Round, policies: Sequence[Any]) -> Iterator[tuple[int, Tick]]:
        """Take the round in; yields (number, what is new) of each tick with news. To be exhausted."""
        levels = Levels(self.board, round_.rows)
        sampling = [at for at in self._sampling(round_.layout) if self.board.enabled[at]]
        sampled = [each for at in sampling if (each := self._samples(at, round_, levels, policies[at]))]
        views = {each.at: each.gathered for each in sampled}
        changed = [] if round_.moves is None else list(self._changes(round_, levels, policies, sampling))
        for number in range(round_.ticks if sampled or changed else 0):
            tick = Tick(self.board, round_.rows, round_.ts[number], levels)
            for at, positions, rows, before, gathered in sampled:
                state = View(gathered, ALL, self.tables[at].vectors, rows)
                out = Judgement(tick, at, None if isinstance(positions, slice) else positions)
                self.signals[at].on_samples(RoundWave(round_, number, positions, before), state, policies[at], out)
            for change in changed:
                self._change(round_, number, tick, change, views.get(change.at), policies[change.at])
            if tick.visible or tick.rates:
                yield number, tick
        for each in sampled:
            self.tables[each.at].scatter(each.rows, each.gathered)
        for at in sampling:  # which read gauges
            self.sampled[at][round_.rows] = round_.ended

    def _sampling(self, layout: Layout) -> list[int]:
        """The signals that a frame of this layout samples."""
        if layout not in self._of_layout:
            gauges = layout.gauges.keys()
            self._of_layout[layout] = [at for at, own in enumerate(self._gauges) if not own.isdisjoint(gauges)]
        return self._of_layout[layout]

    def _moves(self, at: int, round_: Round) -> bool:
        """Whether a counter or flag that the signal reads moves in the round."""
        return round_.moves is not None and not self._changing[at].isdisjoint(round_.moves.fields)

    def _samples(self, at: int, round_: Round, levels: Levels, policy: Any) -> _Sampled | None:
        """Which GPUs a signal has to sample tick by tick: those where it is not at rest."""
        before = self.sampled[at][round_.rows]
        positions: Index = ALL
        if self._in_blocks[at] and not self._moves(at, round_):
            if self._busy[at]:
                self._busy[at] -= 1
            else:
                trial = Trial(levels[at], round_.ticks)
                state = BlockView(self.tables[at].view(round_.rows), round_.ticks)
                self.signals[at].on_samples(BlockWave(round_, before), state, policy, trial)
                lively = state.written(~trial.steady)
                count = np.count_nonzero(lively)
                if 2 * count > len(lively):
                    self._busy[at] = self._lately[at] = min(2 * self._lately[at] + 1, BUSY_MAX)
                else:
                    self._lately[at] = 0
                    if not count:
                        return None
                    positions = np.flatnonzero(lively)
        rows = round_.rows[positions]
        return _Sampled(at, positions, rows, before, self.tables[at].gather(rows))

    def _changes(
        self, round_: Round, levels: Levels, policies: Sequence[Any], sampling: Sequence[int]
    ) -> Iterator[_Changed]:
        """The signals whose counters moved, with the GPUs that have to be judged tick by tick."""
        moves = round_.moves
        assert moves is not None
        for at, fields in enumerate(self._changing):
            numbers = [moves.fields[field] for field in fields if field in moves.fields]
            if not numbers or not self.board.enabled[at]:
                continue
            moved = moves.moved[numbers[0]] if len(numbers) == 1 else np.asarray(moves.moved[numbers].any(axis=0))
            left = np.asarray(moved.any(axis=0))
            before = self.sampled[at][round_.rows] if at in self.sampled else np.zeros(len(round_.rows), "i8")
            if self._grows[at] and at not in sampling:
                fit = left if moves.grew is None else left & moves.grew
                inner = ALL if fit.all() else np.flatnonzero(fit)
                where = ALL if inner is ALL and len(moves.at) == len(round_.rows) else moves.at[inner]
                trial = Trial(levels[at][where], round_.ticks)
                growth = BlockWave(round_, before, where, inner, moved[:, inner])
                if trial.size:
                    state = self.tables[at].view(round_.rows[where])
                    self.signals[at].on_growth(growth, state, policies[at], trial)
                    left[inner] = ~trial.steady
            rest = np.flatnonzero(left)
            if rest.size:
                yield _Changed(at, rest, moved[:, rest], before)

    def _change(
        self,
        round_: Round,
        number: int,
        tick: Tick,
        changed: _Changed,
        gathered: dict[str, Array] | None,
        policy: Any,
    ) -> None:
        moves, at = round_.moves, changed.at
        inner = changed.inner[changed.moved[number]]
        if not inner.size:
            return
        assert moves is not None
        positions = moves.at[inner]
        rows, table = round_.rows[positions], self.tables[at]
        state = table.view(rows) if gathered is None else View(gathered, positions, table.vectors, rows)
        wave = RoundWave(round_, number, positions, changed.before, inner)
        self.signals[at].on_change(wave, state, policy, Judgement(tick, at, positions))


def _grows(signal: type[Signal]) -> bool:
    """Whether its `on_growth` goes with its `on_change`, and is not that of a class whose `on_change` it overrides."""

    def owner(hook: str) -> type:
        return next(each for each in signal.__mro__ if hook in vars(each))

    return owner("on_growth") is not Signal and issubclass(owner("on_growth"), owner("on_change"))
