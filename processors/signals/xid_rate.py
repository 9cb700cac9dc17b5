from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.signal import Event, Fleet, Out, Signal
from processors.state import View
from processors.windows import RateWindow
from schemas.policy import Thresholds
from schemas.states import Family

Array = npt.NDArray[Any]

WINDOW = RateWindow("warnings", slots=30, slot_s=120, dtype="u1")


class XidRate(Signal):
    """Warning-class Xids (45, 63, 94) of one GPU within 60 minutes: each is harmless, many are not.

    Those that come to several GPUs at a time, from one job, are that job's doing and do not count. The window moves in
    steps of two minutes: what is older than 58 minutes may have left it. Limit: product specification, section 4.
    """

    name = "xid_rate"
    family = Family.DRIVER
    quantity = "xids_per_hour"
    columns = WINDOW.columns

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(evict=10.0)  # events within 60 minutes

    def on_event(self, event: Event, state: View, policy: Any, out: Out) -> None:
        if event.shared_since and event.info.counts_as_warning:  # a job's fault, not the GPU's
            if event.repeat:
                self._judge(WINDOW.remove(state, np.array([event.ts])), policy, out)
            return
        counts = event.info.counts_as_warning and not event.repeat
        self._judge(WINDOW.add(state, np.array([event.ts]), np.array([float(counts)])), policy, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if not (fleet.new_policy or state.warnings.any()):
            return
        now = np.where(fleet.node_ts > 0, fleet.node_ts, fleet.now_ms)  # nodes of which only the log is read
        self._judge(WINDOW.expire(state, now), policy, out)

    def rates(self, state: View) -> Array | None:
        return WINDOW.sums(state)

    def _judge(self, values: Array, policy: Any, out: Out) -> None:
        out.judge(policy.limits.classes(values), xids_per_hour=values)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"{value:g} warning-class Xids (45, 63, 94) within 60 minutes"
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"
