from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.resets import LETTING_GO_S
from processors.signal import Fleet, Out, Seconds, Signal
from processors.state import View
from schemas.states import Family

Array = npt.NDArray[Any]


class Presence(Signal):
    """Whether the GPU is in its node's telemetry at all, in credited time: an hour without a log ages nobody.

    Silent for a while: unknown. For longer: failed, as a GPU that is gone is of no use; no budget holds that back.
    It stays unknown where the silence is not the GPU's: while its node's agent goes on saying that a source fails
    (every 45 s at most), while a restart that was announced is under way, while its agent resets a GPU of the node and
    so lets go of them all, and while work is planned there.
    A GPU of which only the kernel has spoken is never more than unknown: nobody may be reading its telemetry.
    """

    name = "presence"
    family = Family.PRESENCE
    required = True

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        unknown_after_s: Seconds = 10.0
        failed_after_s: Seconds = 60.0
        restart_grace_s: Seconds = 600.0  # after the agent's word that it stops
        reset_limit_s: Seconds = 60.0  # for so long a reset may run: `commands.reset_s` of the agents
        reset_grace_s: Seconds = 60.0  # after the end of a reset, and at most that after its limit
        source_word_s: Seconds = 60.0  # for so long counts the agent's word that a source fails

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        silent = fleet.silent_s
        never = fleet.node_ts == 0  # its links, its faults or a list may have been told of it: that is no telemetry
        if silent.max(initial=0.0) < min(policy.unknown_after_s, policy.failed_after_s) and not never.any():
            out.judge(0, hard=True, silent_s=silent)
            return
        classes = np.where(never | (silent >= policy.unknown_after_s), -1, 0)
        lost = (silent >= policy.failed_after_s) & fleet.expected
        if np.count_nonzero(lost):
            classes[lost & ~self._excused(fleet, policy)] = 3
        out.judge(classes, hard=True, silent_s=np.where(never & (classes < 0), np.nan, silent))

    def _excused(self, fleet: Fleet, policy: Any) -> Array:
        # No GPU of its node has spoken for longer, but for the time that a driver takes to let go of one by one.
        with_node = fleet.silent_s <= fleet.node_silent_s + policy.unknown_after_s
        source = (fleet.source_fault > 0) & (fleet.source_word_s < policy.source_word_s) & with_node
        restart = fleet.stopped_s < policy.restart_grace_s
        reset = self._resetting(fleet, policy)
        planned = (fleet.planned_until > 0) | (fleet.overdue_s < policy.failed_after_s)
        return np.asarray(source | restart | reset | planned)

    def _resetting(self, fleet: Fleet, policy: Any) -> Array:
        began, over = fleet.resetting_s, fleet.reset_over_s
        with_reset = (fleet.silent_s <= began + LETTING_GO_S) & (fleet.silent_s >= began - policy.reset_limit_s)
        in_time = (began < policy.reset_limit_s + policy.reset_grace_s) & ~(over >= policy.reset_grace_s)
        return np.asarray(with_reset & in_time)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"no telemetry of this GPU for {value:g} s" if value == value else "no telemetry of this GPU yet"
