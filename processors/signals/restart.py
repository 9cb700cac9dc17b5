from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Seconds, Signal
from processors.state import View


class Restart(Signal):
    """Whether the node's agent has said that it stops, and nothing has been heard since: the node restarts.

    For how long that excuses the silence is `presence`'s to say (`restart_grace_s`).
    """

    name = "restart"
    required = True

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        unknown_after_s: Seconds = 10.0

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        stopped = fleet.stopped_s
        silent = ~np.isnan(stopped) & (fleet.silent_s >= policy.unknown_after_s)
        out.judge(np.where(silent, -1, 0), stopped_s=stopped)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        when = f"{value:g} s ago" if value == value else "before"
        return f"node restarts: its agent stopped {when}, as it had announced"
