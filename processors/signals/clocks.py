from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from processors.signal import Out, Seconds, Share, Signal, Wave
from processors.state import Column, View
from schemas.fields import CLOCK_EVENT_REASONS, POWER, POWER_LIMIT, SM_CLOCK
from schemas.policy import Caps, Thresholds
from schemas.states import Family

Array = npt.NDArray[Any]

IDLE = 0x1
THROTTLED = 0xE0  # thermal slowdown by software or hardware, power brake; not power caps or application clocks


class Clocks(Signal):
    """Lost throughput: the share of time under load in which the GPU says that it throttles, in percent.

    Under load: the idle bit is clear, and power is at least `load_power_share` of its limit where both are known.
    With judge_by = "deficit" (product specification, section 3) it is the percentage by which the SM clock is
    below boost, whatever the GPU does: idle and power-capped GPUs then count as slow.
    """

    name = "clocks"
    family = Family.THERMAL
    fields = (SM_CLOCK, CLOCK_EVENT_REASONS, POWER, POWER_LIMIT)
    quantity = "slow_percent"
    columns = {"share": Column("f8", fill=0.0)}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        judge_by: Literal["event_reasons", "deficit"] = "event_reasons"
        boost_mhz: Annotated[float, msgspec.Meta(gt=0.0, le=100_000.0)] = 1830.0
        smoothing_s: Seconds = 60.0
        load_power_share: Share = 0.3
        limits: Thresholds = Thresholds(warning=10.0, critical=50.0)  # percent
        caps: Caps = Caps(warning=0.7, critical=0.4, evict=0.2)

    def on_samples(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        if policy.judge_by == "deficit":
            percent = 100.0 * (policy.boost_mhz - wave[SM_CLOCK]) / policy.boost_mhz
        else:
            percent = 100.0 * self._throttled_share(wave, state, policy)
        out.judge(policy.limits.classes(percent), slow_percent=percent)

    def _throttled_share(self, wave: Wave, state: View, policy: Any) -> Array:
        """Smoothed over the time under load; NaN where the GPU does not say why it clocks as it does."""
        given = wave[CLOCK_EVENT_REASONS]
        blank = np.isnan(given)
        some_blank = blank.any()
        reasons = (np.where(blank, 0.0, given) if some_blank else given).astype("i4")
        throttled = (reasons & THROTTLED) != 0
        if not throttled.any() and not state.share.any():
            return np.where(blank, np.nan, 0.0) if some_blank else np.zeros(given.shape)
        idle = wave[POWER] < policy.load_power_share * wave[POWER_LIMIT]  # False where either is unknown
        loaded = ((reasons & IDLE) == 0) & ~idle & ~blank
        step = np.where(loaded, wave.dt / (policy.smoothing_s + wave.dt), 0.0)
        state.share = state.share + np.nan_to_num(step) * (throttled - state.share)
        return np.where(blank, np.nan, state.share)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"clocks: {value:.3g} % slow"
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"
