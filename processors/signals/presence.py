from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Seconds, Signal
from processors.state import View
from schemas.states import Family


class Presence(Signal):
    """Whether the GPU is in its node's telemetry at all, in credited time: an hour without a log ages nobody.

    Silent for a while: unknown. For longer: failed, as a GPU that is gone is of no use; no budget holds that back.
    A GPU of which only the kernel has spoken is never more than unknown: nobody may be reading its telemetry.
    """

    name = "presence"
    family = Family.PRESENCE
    required = True

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        unknown_after_s: Seconds = 10.0
        failed_after_s: Seconds = 60.0

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        silent = fleet.silent_s
        if silent.max(initial=0.0) < min(policy.unknown_after_s, policy.failed_after_s):  # as most always
            out.judge(0, hard=True, silent_s=silent)
            return
        classes = np.where(silent >= policy.unknown_after_s, -1, 0)
        classes[(silent >= policy.failed_after_s) & fleet.expected] = 3
        out.judge(classes, hard=True, silent_s=silent)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"no telemetry of this GPU for {value:g} s" if value == value else "not heard of yet"
