from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Signal
from processors.state import Column, View
from schemas.states import Action


class Maintenance(Signal):
    """Whether an operator has announced work on the GPU or its node: no traffic until then, and nobody is alarmed.

    The GPU drains, and comes back by itself when the time is over and it is heard of again.
    """

    name = "maintenance"
    columns = {"until": Column("i8")}  # as announced at the timer before, ms

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        until = fleet.planned_until
        left = (until - fleet.now_ms) / 1000.0
        classes = np.where(until > 0, 3, 0)
        changed = (until != state.until) & (until > 0)
        state.until = until
        out.judge(classes, action=Action.DRAIN, left_s=left)
        again = np.flatnonzero(changed)
        if again.size:  # announced anew, for another time
            out.judge(classes[again], where=again, action=Action.DRAIN, anew=True, left_s=left[again])

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"planned maintenance, for another {value:g} s when it was announced"
