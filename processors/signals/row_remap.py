from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Out
from processors.standing import Standing
from processors.state import Column, View
from schemas.fields import ROW_REMAP_FAILURE, ROW_REMAP_PENDING
from schemas.states import Action

PENDING, FAILED = 1.0, 2.0


class RowRemap(Standing):
    """Row remapping that failed (the GPU must be replaced), or waits for a reset. Ampere and later.

    A reset carries a pending remap out and clears that flag; what else runs on the GPU is not affected until then.
    The failure flag (no spare row was left, or the row had been remapped before, or 512 are) never clears: with the
    field diagnostic's word NVIDIA takes the GPU back (NVIDIA GPU Memory Error Management, RMA policy). An operator's
    word accepts it as it stands.
    """

    name = "row_remap"
    kept = {"failure": ROW_REMAP_FAILURE, "pending": ROW_REMAP_PENDING}
    quantity = "remap_state"
    columns = {"accepted": Column("i1")}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pending_is_warning: bool = True

    def judge(self, state: View, policy: Any, out: Out) -> None:
        failed = (state.failure > 0) & (state.accepted == 0)
        known = ~(np.isnan(state.failure) & np.isnan(state.pending))
        values = np.where(failed, FAILED, np.where(state.pending > 0, PENDING, np.where(known, 0.0, np.nan)))
        classes = np.where(failed, 3, np.where((values == PENDING) & policy.pending_is_warning, 1, 0))
        classes[~known] = -1
        out.judge(classes, action=Action.EVICT_PERMANENTLY, remap_state=values)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.accepted = np.where(state.failure > 0, 1, state.accepted)
        self.judge(state, policy, out)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return "row remapping failed: replace the GPU" if value == FAILED else "row remap waits for a reset"
