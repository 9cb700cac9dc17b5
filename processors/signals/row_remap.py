from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.counting import LatestLevel
from processors.signal import Out, Wave
from processors.state import Column, View
from schemas.fields import ROW_REMAP_FAILURE, ROW_REMAP_PENDING
from schemas.states import Action, Family

Array = npt.NDArray[Any]

PENDING, FAILED = 1.0, 2.0


class RowRemap(LatestLevel):
    """Row remapping that failed (the GPU must be replaced), or waits for a reset. Ampere and later.

    The failure flag never clears; an operator's word accepts it as it stands.
    """

    name = "row_remap"
    family = Family.MEMORY
    fields = (ROW_REMAP_FAILURE, ROW_REMAP_PENDING)
    quantity = "remap_state"
    columns = {"value": Column("f8"), "accepted": Column("i1")}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pending_is_warning: bool = True

    def measure(self, wave: Wave, state: View, policy: Any) -> Array:
        failure, pending = wave[ROW_REMAP_FAILURE], wave[ROW_REMAP_PENDING]
        failed = (failure > 0) & (state.accepted == 0)
        known = ~(np.isnan(failure) & np.isnan(pending))
        return np.where(failed, FAILED, np.where(pending > 0, PENDING, np.where(known, 0.0, np.nan)))

    def judge(self, values: Array, policy: Any, out: Out) -> None:
        classes = np.where(values == FAILED, 3, np.where((values == PENDING) & policy.pending_is_warning, 1, 0))
        classes[np.isnan(values)] = -1
        out.judge(classes, action=Action.EVICT_PERMANENTLY, remap_state=values)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.accepted = np.where(state.value == FAILED, 1, state.accepted)
        state.value = np.where(state.value == FAILED, 0.0, state.value)
        self.judge(state.value, policy, out)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return "row remapping failed: replace the GPU" if value == FAILED else "row remap waits for a reset"
