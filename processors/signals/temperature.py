from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Out, Signal, Wave
from processors.state import View
from schemas.fields import GPU_TEMP, GPU_TEMP_MARGIN
from schemas.policy import Caps, Thresholds
from schemas.states import Family


class Temperature(Signal):
    """GPU temperature in degrees C. Limits: product specification, section 3.

    Absolute limits are wrong for some products: where a GPU reports its margin to its own limit,
    `temperature_margin` judges instead, unless `also_with_margin`.
    """

    name = "temperature"
    family = Family.THERMAL
    fields = (GPU_TEMP, GPU_TEMP_MARGIN)
    quantity = "temperature_c"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        also_with_margin: bool = False
        limits: Thresholds = Thresholds(warning=80.0, critical=85.0, evict=90.0)  # degrees C
        caps: Caps = Caps(warning=0.7, critical=0.4, evict=0.0)

    def on_samples(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        temperature = wave[GPU_TEMP]
        classes = policy.limits.classes(temperature)
        if not policy.also_with_margin:
            np.copyto(classes, -1, where=~np.isnan(wave[GPU_TEMP_MARGIN]))
        out.judge(classes, temperature_c=temperature)
