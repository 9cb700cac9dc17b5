"""What signals on damage share: values that stand until they change, and are not undone by a blank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from processors.signal import Fleet, Growth, Out, Signal, Trial, Wave
from processors.state import BlockView, Column, View


class Standing(Signal):
    """The last known value of some fields. Declare `kept` (column: field); override `judge` where there are several.

    Judges at first sight: the value is damage already done. A blank keeps what was known: nothing is repaired by
    not being told.
    """

    kept: ClassVar[Mapping[str, int]]

    def __init_subclass__(cls) -> None:
        cls.fields = tuple(cls.kept.values())
        cls.columns = {name: Column("f4") for name in cls.kept} | dict(cls.columns)

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        for name, field in self.kept.items():
            now = wave[field]
            setattr(state, name, np.where(np.isnan(now), getattr(state, name), now))
        self.judge(state, policy, out)

    def on_growth(self, growth: Growth, state: View, policy: Any, trial: Trial) -> None:
        ticks = len(growth.moved)
        before = BlockView(state, ticks)
        block = {name: getattr(before, name) for name in self.columns}
        for name, field in self.kept.items():
            now = growth[field]
            block[name] = np.where(np.isnan(now), block[name], now).astype(self.columns[name].dtype)
        self.judge(View(block, slice(None), {}, slice(None)), policy, trial)
        for name in self.kept:
            newest = block[name].reshape(ticks, -1)[-1]
            setattr(state, name, np.where(trial.steady, newest, getattr(state, name)))

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy:
            self.judge(state, policy, out)

    def judge(self, state: View, policy: Any, out: Out) -> None:
        """State the classes of the GPUs at hand, from what is kept."""
        (name,) = self.kept
        values = getattr(state, name).astype("f8")
        evidence: Any = {self.quantity: values}
        out.judge(policy.limits.classes(values), **evidence)
