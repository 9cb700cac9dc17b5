from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Seconds, Signal
from processors.state import Column, View


class Gone(Signal):
    """Whether the node goes on without the GPU: its list lacks it, or its telemetry does, while others are there.

    That list is complete, and its word stronger than silence. A GPU that is set up for MIG, and a driver that is
    loaded anew, shorten it for some seconds: less than `gone_after_s`, or with all GPUs of the node silent.
    """

    name = "gone"
    columns = {
        "gone": Column("i1"),  # so it was found; only its return ends that
        "alone_at": Column("f8"),  # for how long it had been silent when the others were first seen to go on
    }

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        gone_after_s: Seconds = 30.0  # not listed, or not in telemetry, while others are, for so long
        silent_after_s: Seconds = 60.0  # still listed, or nobody lists anything, and silent for so long
        others_within_s: Seconds = 10.0  # so fresh must the others be

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        silent = fleet.silent_s
        if silent.max(initial=0.0) < policy.others_within_s:  # as most always
            if np.count_nonzero(state.gone) or not np.isnan(state.alone_at).all():
                state.gone, state.alone_at = 0, np.nan
            out.judge(0, hard=True, gone_s=0.0)
            return
        alone = (silent >= policy.others_within_s) & (fleet.node_silent_s < policy.others_within_s) & fleet.expected
        alone_at = np.where(alone, np.fmin(state.alone_at, silent), np.nan)
        state.alone_at = alone_at
        absent = fleet.absent_s
        unlisted = alone & (absent >= policy.gone_after_s)
        unseen = (silent - alone_at >= policy.gone_after_s) & (silent >= policy.silent_after_s)
        planned = (fleet.planned_until > 0) | (fleet.overdue_s < policy.silent_after_s)
        gone = (unlisted | unseen) & ~planned
        gone |= (state.gone > 0) & (silent >= policy.others_within_s)
        state.gone = gone
        out.judge(np.where(gone, 3, 0), hard=True, gone_s=np.where(np.isnan(absent), silent, absent))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"gone: its node goes on without this GPU for {value:g} s"
