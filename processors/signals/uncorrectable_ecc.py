from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Signal, Wave
from processors.state import Column, View
from schemas.fields import ECC_DBE_VOLATILE
from schemas.policy import Caps, Thresholds
from schemas.states import Family


class UncorrectableEcc(Signal):
    """Uncorrectable memory errors: outputs since the last known-good point may be wrong.

    Limits: product specification, section 3. With `latch` all errors since an operator's word count, across
    the restarts that set the counter back; without it the counter counts as it stands.
    """

    name = "uncorrectable_ecc"
    family = Family.MEMORY
    fields = (ECC_DBE_VOLATILE,)
    quantity = "uncorrectable_count"
    columns = {"value": Column("f8"), "total": Column("f8")}  # the counter as it stands; with all before restarts

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        latch: bool = True
        limits: Thresholds = Thresholds(critical=1.0, evict=3.0, inclusive=True)  # errors
        caps: Caps = Caps(warning=0.7, critical=0.1, evict=0.0)

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        count = wave[ECC_DBE_VOLATILE]
        total = state.total + np.nan_to_num(wave.increase(ECC_DBE_VOLATILE))
        state.value, state.total = count, np.where(np.isnan(total), count, total)  # at first what there is already
        self._judge(state, policy, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy:
            self._judge(state, policy, out)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.value, state.total = (np.where(np.isnan(each), np.nan, 0.0) for each in (state.value, state.total))
        self._judge(state, policy, out)

    def _judge(self, state: View, policy: Any, out: Out) -> None:
        count = state.total if policy.latch else state.value
        out.judge(policy.limits.classes(count), corruption=True, uncorrectable_count=count)
