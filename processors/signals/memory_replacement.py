from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.signal import Out
from processors.standing import Standing
from processors.state import Column, View
from schemas.fields import MEMORY_UNREPAIRABLE, SRAM_THRESHOLD
from schemas.states import Action

Array = npt.NDArray[Any]

SRAM, UNREPAIRABLE = 1.0, 2.0
WORDS = {
    SRAM: "SRAM has exceeded its threshold of uncorrectable errors: run the field diagnostic, replace the GPU",
    UNREPAIRABLE: "memory is past repair: replace the GPU",
}


class MemoryReplacement(Standing):
    """The GPU's own word that its memory is to be replaced: fields 346 (DCGM 4.2) and 1507 (DCGM 4.5.3).

    346 is set by more than 4 unique uncorrectable errors in one address bank of parity-protected SRAM, or more
    than 2 of SECDED-protected SRAM; NVIDIA then accepts the GPU for RMA once its field diagnostic confirms it (GPU
    Memory Error Management, RMA policy, L2 memory). No reset clears the flags; an operator's word accepts them.
    Older engines and GPUs leave them blank: no opinion.
    """

    name = "memory_replacement"
    kept = {"sram": SRAM_THRESHOLD, "unrepairable": MEMORY_UNREPAIRABLE}
    quantity = "memory_state"
    columns = {"accepted": Column("i1")}  # accepted: the gravest state that an operator took

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def judge(self, state: View, policy: Any, out: Out) -> None:
        flags = self._flags(state)
        known = ~(np.isnan(state.sram) & np.isnan(state.unrepairable))
        values = np.where(known, np.where(flags > state.accepted, flags, 0.0), np.nan)
        classes = np.where(known, np.where(values > 0, 3, 0), -1)
        out.judge(classes, action=Action.EVICT_PERMANENTLY, memory_state=values)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.accepted = np.maximum(state.accepted, self._flags(state))
        self.judge(state, policy, out)

    def _flags(self, state: View) -> Array:
        return np.where(state.unrepairable > 0, UNREPAIRABLE, np.where(state.sram > 0, SRAM, 0.0))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return WORDS.get(value, "memory is sound")
