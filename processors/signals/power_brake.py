from __future__ import annotations

from typing import Any

import msgspec

from processors.load import HeldBack
from processors.signal import Out, Seconds, Share, Wave
from processors.state import View
from schemas.policy import Caps, Thresholds


class PowerBrake(HeldBack):
    """The share of time under load in which the machine brakes the GPU (bit 0x80 of the clock event reasons).

    The brake is a line that power supply or rack pull: the cause is there, and another GPU would be braked just the
    same. Throughput is lost as by heat, so the limits are those of `clocks`.
    """

    name = "power_brake"
    quantity = "braked_percent"
    bits = 0x80

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        smoothing_s: Seconds = 60.0
        load_power_share: Share = 0.3
        limits: Thresholds = Thresholds(warning=10.0, critical=50.0)  # percent
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def on_samples(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        percent = self.held_back_percent(wave, state, policy)
        out.judge(policy.limits.classes(percent), braked_percent=percent)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"power brake: power supply or rack slow the GPU down in {value:.3g} % of the time under load"
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"
