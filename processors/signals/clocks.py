from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from processors.load import HeldBack
from processors.signal import Out, Seconds, Share, Wave
from processors.state import View
from schemas.fields import CLOCK_EVENT_REASONS, POWER, POWER_LIMIT, SM_CLOCK
from schemas.policy import Caps, Thresholds


class Clocks(HeldBack):
    """Lost throughput: the share of time under load in which the GPU says that heat slows it down, in percent.

    These are bits 0x20 and 0x40 of the clock event reasons: thermal slowdown by software or hardware. The power
    brake (0x80) has a signal of its own; all other reasons are habits of healthy GPUs (idle, application clocks, power
    cap, sync boost), or come with any change of clocks (0x8).
    Under load: the idle bit is clear, and power is at least `load_power_share` of its limit where both are known.
    With judge_by = "deficit" (product specification, section 3) it is the percentage by which the SM clock is
    below boost, whatever the GPU does: idle and power-capped GPUs then count as slow.
    """

    name = "clocks"
    fields = (SM_CLOCK, CLOCK_EVENT_REASONS, POWER, POWER_LIMIT)
    quantity = "slow_percent"
    bits = 0x60

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
            percent = self.held_back_percent(wave, state, policy)
        out.judge(policy.limits.classes(percent), slow_percent=percent)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"clocks: {value:.3g} % slow"
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"
