from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Seconds, Signal
from processors.state import View
from schemas.states import Family


class Blanks(Signal):
    """Whether the GPU's telemetry says anything: frames of nothing but blanks are no sign of health.

    After some faults (Xid 79, 119, 120) the host engine goes on sampling and every value is blank.
    """

    name = "blanks"
    family = Family.PRESENCE
    required = True

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        unknown_after_s: Seconds = 10.0

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        blank = fleet.uninformed_s
        speaks = fleet.silent_s < policy.unknown_after_s  # else `presence` has the word
        tells = blank < policy.unknown_after_s  # not where NaN: it has yet to hold a value
        out.judge(0 if tells.all() else np.where(speaks & ~tells, -1, 0), blank_s=blank)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"every value blank for {value:g} s" if value == value else "every value is blank"
