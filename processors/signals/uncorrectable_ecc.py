from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Signal, Wave
from processors.state import Column, View
from schemas.fields import ECC_DBE_AGGREGATE, ECC_DBE_VOLATILE
from schemas.policy import Caps, Thresholds


class UncorrectableEcc(Signal):
    """Uncorrectable memory errors: outputs since the last known-good point may be wrong.

    Limits: product specification, section 3. With `latch` all errors since an operator's word count, across
    the restarts that set the volatile counter back; without it that counter counts as it stands. `with_aggregate`
    (needs `latch`): growth of the aggregate counter (313) counts where the volatile one (311) missed it, as it
    does when the driver was reloaded before anybody read it. Both count the same errors: the larger number holds,
    never the sum. What the aggregate counter says at first sight is history, and no evidence; that it falls (the
    InfoROM was rewritten) is none either.
    """

    name = "uncorrectable_ecc"
    fields = (ECC_DBE_VOLATILE, ECC_DBE_AGGREGATE)
    quantity = "uncorrectable_count"
    columns = {
        "value": Column("f8"),  # the volatile counter as it stands
        "total": Column("f8"),  # with all before restarts
        "lifetime": Column("f8"),  # the aggregate counter when it was last known
        "before": Column("f8"),  # what of it was there before the errors that count
    }

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        latch: bool = True
        with_aggregate: bool = True
        limits: Thresholds = Thresholds(critical=1.0, evict=3.0, inclusive=True)  # errors
        caps: Caps = Caps(warning=0.7, critical=0.1, evict=0.0)

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        count, lifetime = wave[ECC_DBE_VOLATILE], wave[ECC_DBE_AGGREGATE]
        known, former = state.lifetime, self._errors(state)
        total = state.total + np.nan_to_num(wave.increase(ECC_DBE_VOLATILE))
        state.value, state.total = count, np.where(np.isnan(total), count, total)  # at first what there is already
        anew = ~np.isnan(lifetime) & (np.isnan(known) | (lifetime < known))
        counted = np.where(np.isnan(known), state.total, former)
        state.before = np.where(anew, lifetime - np.nan_to_num(counted), state.before)
        state.lifetime = np.where(np.isnan(lifetime), known, lifetime)
        self._judge(state, policy, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy:
            self._judge(state, policy, out)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.before = state.before + np.nan_to_num(self._errors(state))  # the aggregate counter may yet catch up
        state.value, state.total = (np.where(np.isnan(each), np.nan, 0.0) for each in (state.value, state.total))
        self._judge(state, policy, out)

    def _errors(self, state: View) -> Any:
        """All that count, by both counters; NaN where neither has said anything."""
        return np.fmax(state.total, state.lifetime - state.before)

    def _judge(self, state: View, policy: Any, out: Out) -> None:
        latched = self._errors(state) if policy.with_aggregate else state.total
        count = latched if policy.latch else state.value
        out.judge(policy.limits.classes(count), corruption=True, uncorrectable_count=count)
