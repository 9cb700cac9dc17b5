from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.signal import Event, Fleet, Out, Signal, Wave
from processors.state import Column, View
from schemas.fields import RECOVERY_ACTION
from schemas.states import Action
from schemas.xid import XidResponse, lookup, respond

Array = npt.NDArray[Any]

XID = 154  # announces the same in the kernel log
_OUTCOMES = {
    XidResponse.MONITOR: (0, None),
    XidResponse.DEGRADE: (1, None),
    XidResponse.EVICT: (3, Action.EVICT),
    XidResponse.REMOVE_NODE: (3, Action.REMOVE_NODE),
}
_MEANINGS = {
    1: "a GPU reset",
    2: "a reboot of the node",
    3: "a drain of peer-to-peer traffic",
    4: "a drain and a GPU reset",
    5: "a recovery of the IMEX domain",
    6: "a bus reset",
    7: "a reboot of the system",
}


class RecoveryAction(Signal):
    """What the driver asks for (field 1523), answered like Xid 154, which announces the same in the kernel log.

    For GPUs whose kernel log nobody reads: once an Xid 154 of the GPU has been seen, the signal `xid` alone judges.
    """

    name = "recovery_action"
    fields = (RECOVERY_ACTION,)
    quantity = "recovery_action"
    columns = {"value": Column("f4"), "announced": Column("i1")}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        state.value = wave[RECOVERY_ACTION]
        self._judge(state, out)

    def on_event(self, event: Event, state: View, policy: Any, out: Out) -> None:
        if event.fault.code == XID:
            state.announced = 1
            self._judge(state, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy:
            self._judge(state, out)

    def _judge(self, state: View, out: Out) -> None:
        values: Array = state.value.astype("f8")
        left = ~np.isnan(values)
        out.judge(-1, where=np.flatnonzero(~left))
        for number in np.unique(values[left]).tolist():
            meant = left & (values == number)
            level, action = _OUTCOMES[respond(XID, recovery_action=int(number))]
            classes = np.where(state.announced[meant] > 0, 0, level)
            hard = level == 3 and lookup(XID).hard
            out.judge(classes, where=np.flatnonzero(meant), action=action, hard=hard, recovery_action=number)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"the driver asks for {_MEANINGS.get(int(value), f'recovery action {value:g}')}"
