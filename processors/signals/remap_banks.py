from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from processors.signal import Out
from processors.standing import Standing
from processors.state import View
from schemas.fields import BANKS_LOW, BANKS_NONE
from schemas.policy import Caps

Banks = Annotated[int, msgspec.Meta(ge=1)]


class RemapBanks(Standing):
    """Memory banks whose spare rows run out (field 388), or have run out (389). Ampere and later.

    A bank remaps at most eight rows for uncorrectable errors; the next one in a bank without spare rows sets the
    row-remapping failure flag, and the GPU has to be replaced (NVIDIA GPU Memory Error Management, RMA policy). The
    memory is sound until then, so the GPU stays in service at a lower weight: time to order a replacement. No reset
    gives spare rows back. Where it cannot be asked (MIG instances, older parts) it is blank: no opinion.
    """

    name = "remap_banks"
    kept = {"low": BANKS_LOW, "none": BANKS_NONE}
    quantity = "banks_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        low_banks: Banks = 1  # that many banks with few spare rows: warning
        exhausted_banks: Banks = 1  # that many banks without any: critical
        caps: Caps = Caps(warning=0.9, critical=0.5, evict=0.0)

    def judge(self, state: View, policy: Any, out: Out) -> None:
        low, none = state.low, state.none
        exhausted = none >= policy.exhausted_banks
        classes = np.where(exhausted, 2, np.where(low >= policy.low_banks, 1, 0))
        classes[np.isnan(low) & np.isnan(none)] = -1
        out.judge(classes, banks_count=np.where(exhausted, none, low).astype("f8"))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        rows = "no spare rows" if level == "critical" else "few spare rows"
        return f"{value:g} memory banks with {rows} left"
