"""What signals on counters share: windowed rates, and levels that stand for damage."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from processors.signal import Fleet, Growth, Out, Signal, Trial, Wave
from processors.state import BlockView, Column, View
from processors.windows import RateWindow

Array = npt.NDArray[Any]


class CounterRate(Signal):
    """The increase of counters within a sliding window. Declare `fields`, `window` and `quantity`.

    counters: which of `fields` are counted together, all of them unless said; a GPU that lacks some is judged by the
    others. Blank: no opinion, and what was counted stays. First sample: rate zero.
    """

    window: ClassVar[RateWindow]
    counters: ClassVar[tuple[int, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.columns = {**cls.window.columns, "blank": Column("i1", fill=1), **cls.columns}

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        increase = self._increase(wave)
        blank = np.isnan(increase)
        state.blank = blank
        if blank.any():
            sums = self.window.add(state, wave.ts, np.where(blank, 0.0, increase))
            self._judge(np.where(blank, np.nan, sums), state, policy, out)
        else:
            self._judge(self.window.add(state, wave.ts, increase), state, policy, out)

    def on_growth(self, growth: Growth, state: View, policy: Any, trial: Trial) -> None:
        increases = self._increase(growth).reshape(growth.moved.shape)
        foreseen = self.window.foresee(state, growth.ts.reshape(increases.shape), increases, growth.moved)
        trial.judge(self.classes(foreseen.bounds, state, policy).reshape(-1))  # classes rise with the sums
        trial.steady &= foreseen.simple
        self.window.take(state, foreseen, trial.steady)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if not (fleet.new_policy or getattr(state, self.window.name).any()):
            return
        sums = self.window.expire(state, fleet.node_ts)
        self._judge(np.where(state.blank, np.nan, sums), state, policy, out)

    def rates(self, state: View) -> Array | None:
        return self.window.sums(state)

    def classes(self, sums: Array, state: View, policy: Any) -> Array:
        """[..., N] the classes of counts of the N GPUs at hand; they rise with the counts."""
        classes: Array = policy.limits.classes(sums)
        return classes

    def _increase(self, wave: Wave) -> Array:
        first, *others = (wave.increase(field) for field in self.counters or self.fields)
        for other in others:
            first = np.where(np.isnan(first), other, first + np.nan_to_num(other))
        return first

    def _judge(self, values: Array, state: View, policy: Any, out: Out) -> None:
        evidence: Any = {self.quantity: values}
        out.judge(self.classes(values, state, policy), **evidence)


class LatestLevel(Signal):
    """A value that stands until it changes. Override `measure`; `judge` where thresholds are not all.

    Judges at first sight: the value is damage already done.
    """

    columns = {"value": Column("f8")}

    def measure(self, wave: Wave, state: View, policy: Any) -> Array:
        """The value of each GPU at hand; NaN where it cannot be told."""
        return wave[self.fields[0]]

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        state.value = self.measure(wave, state, policy)
        self.judge(state.value, policy, out)

    def on_growth(self, growth: Growth, state: View, policy: Any, trial: Trial) -> None:
        values = self.measure(growth, BlockView(state, len(growth.moved)), policy)
        self.judge(values, policy, trial)
        state.value = np.where(trial.steady, values.reshape(growth.moved.shape)[-1], state.value)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy:
            self.judge(state.value, policy, out)

    def judge(self, values: Array, policy: Any, out: Out) -> None:
        evidence: Any = {self.quantity: values}
        out.judge(policy.limits.classes(values), **evidence)
