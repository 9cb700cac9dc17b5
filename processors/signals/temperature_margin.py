from __future__ import annotations

from typing import Any

import msgspec

from processors.signal import Out, Signal, Wave
from processors.state import View
from schemas.fields import GPU_TEMP_MARGIN
from schemas.policy import Caps, Thresholds
from schemas.states import Family


class TemperatureMargin(Signal):
    """Degrees C left to the GPU's own limit, as it reports them: at 0 it slows down by itself."""

    name = "temperature_margin"
    family = Family.THERMAL
    fields = (GPU_TEMP_MARGIN,)
    quantity = "margin_c"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=5.0, critical=0.0, inclusive=True, falling=True)  # degrees C
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def on_samples(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        margin = wave[GPU_TEMP_MARGIN]
        out.judge(policy.limits.classes(margin), margin_c=margin)
