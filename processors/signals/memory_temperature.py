from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from processors.signal import Out, Signal, Wave
from processors.state import Column, View
from schemas.fields import MEMORY_TEMP, MEMORY_TEMP_MAX
from schemas.policy import Caps, Thresholds


class MemoryTemperature(Signal):
    """Degrees C left to the highest operating temperature of the memory, above which the driver slows the GPU down.

    It is as the GPU reports it; for V100, A100 and H100 `nvidia-smi` shows 95 C, and newer drivers none. The hottest
    HBM of a healthy fleet of A100 has been seen at 82 C (Acme).
    """

    name = "memory_temperature"
    fields = (MEMORY_TEMP, MEMORY_TEMP_MAX)
    quantity = "margin_c"
    columns = {"max": Column("f4")}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        max_c: Annotated[float, msgspec.Meta(gt=0.0, le=200.0)] = 95.0  # where the GPU reports none
        limits: Thresholds = Thresholds(warning=5.0, critical=0.0, inclusive=True, falling=True)  # degrees C
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def on_samples(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        self._judge(wave, state, policy, out)

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        state.max = wave[MEMORY_TEMP_MAX]
        self._judge(wave, state, policy, out)

    def _judge(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        reported = state.max
        margin = np.where(reported > 0, reported, policy.max_c) - wave[MEMORY_TEMP]
        out.judge(policy.limits.classes(margin), margin_c=margin)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        place = f"{value:g} C below" if value > 0 else f"{-value:g} C above"
        measured = f"memory temperature: {place} its highest operating temperature"
        return measured if limit is None else f"{measured} ({level} limit {limit:g} C below)"
