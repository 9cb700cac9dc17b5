from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Seconds, Signal
from processors.state import View
from schemas.states import Action


class MaintenanceOverrun(Signal):
    """Whether the time for planned work is over and the GPU is not back: still no traffic.

    It stays drained, and is not yet lost: from the end of that time on, its silence counts (`presence`).
    """

    name = "maintenance_overrun"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        silent_s: Seconds = 10.0  # not in the node's telemetry for so long

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        overdue = fleet.overdue_s
        late = ~np.isnan(overdue) & (fleet.silent_s >= policy.silent_s)
        out.judge(np.where(late, 3, 0), action=Action.DRAIN, overdue_s=overdue)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return "the time for planned maintenance is over, and the GPU is still silent"
