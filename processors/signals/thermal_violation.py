from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Seconds, Signal, Wave
from processors.state import Column, View
from processors.windows import RateWindow
from schemas.fields import THERMAL_VIOLATION
from schemas.policy import Caps, Thresholds

_US_PER_PERCENT = 600_000.0  # of a minute
_NS_PER_US = 1000.0


class ThermalViolation(Signal):
    """The share of the last minute that the GPU spent below its clocks because of heat, by the driver's own count.

    Samples of the clock event reasons miss what lasts less than a second; the counter (ns) does not. GPUs grow hot
    under load alone, so time is time under load. Counters of power, board and reliability limits are not judged: they
    run in every healthy GPU at work.
    What a counter says after a silence of more than `gap_s` is not of the last minute, and begins anew.
    """

    name = "thermal_violation"
    fields = (THERMAL_VIOLATION,)
    quantity = "violation_percent"
    window = RateWindow("held_us", slots=4, slot_s=15)
    columns = {**window.columns, "newest": Column("i8"), "blank": Column("i1", fill=1)}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        gap_s: Seconds = 60.0
        limits: Thresholds = Thresholds(warning=10.0, critical=50.0)  # percent
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        increase = wave.increase(THERMAL_VIOLATION)
        blank, ts = np.isnan(increase), wave.ts
        recent = ~blank & (ts - state.newest <= 1000 * policy.gap_s)
        state.newest = np.where(increase > 0, ts, state.newest)
        state.blank = blank
        sums = self.window.add(state, ts, np.where(recent, increase // _NS_PER_US, 0.0))
        self._judge(np.where(blank, np.nan, sums), policy, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy or state.held_us.any():
            sums = self.window.expire(state, fleet.node_ts)
            self._judge(np.where(state.blank, np.nan, sums), policy, out)

    def _judge(self, sums: Any, policy: Any, out: Out) -> None:
        percent = np.minimum(sums / _US_PER_PERCENT, 100.0)
        out.judge(policy.limits.classes(percent), violation_percent=percent)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"heat held the clocks down in {value:.3g} % of the last minute"
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"
