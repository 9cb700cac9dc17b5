from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.counting import LatestLevel
from processors.signal import Out, Wave
from processors.state import View
from schemas.fields import ECC_DBE_VOLATILE
from schemas.policy import Caps, Thresholds

Array = npt.NDArray[Any]


class UncorrectableEcc(LatestLevel):
    """Uncorrectable memory errors: outputs since the last known-good point may be wrong.

    Limits: product specification, section 3. With `latch` all errors since an operator's word count, across
    the restarts that set the counter back; without it the counter counts as it stands.
    """

    name = "uncorrectable_ecc"
    fields = (ECC_DBE_VOLATILE,)
    quantity = "uncorrectable_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        latch: bool = True
        limits: Thresholds = Thresholds(critical=1.0, evict=3.0, inclusive=True)  # errors
        caps: Caps = Caps(warning=0.7, critical=0.1, evict=0.0)

    def measure(self, wave: Wave, state: View, policy: Any) -> Array:
        count = wave[ECC_DBE_VOLATILE]
        if not policy.latch:
            return count
        total: Array = state.value + np.nan_to_num(wave.increase(ECC_DBE_VOLATILE))
        return np.where(np.isnan(total), count, total)  # first sight: what there is already

    def judge(self, values: Array, policy: Any, out: Out) -> None:
        out.judge(policy.limits.classes(values), corruption=True, uncorrectable_count=values)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.value = np.where(np.isnan(state.value), np.nan, 0.0)
        self.judge(state.value, policy, out)
