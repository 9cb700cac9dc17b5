from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Out
from processors.standing import Standing
from processors.state import View
from schemas.fields import RETIRED_PENDING


class RetirementPending(Standing):
    """A memory page that is to be retired at the next reset or driver load (field 392, a flag). Before Ampere.

    Until then the driver still hands the page out: a reset clears the flag and the danger. Ampere and later remap
    rows instead (`row_remap`) and leave it blank.
    """

    name = "retirement_pending"
    kept = {"pending": RETIRED_PENDING}
    quantity = "pending_state"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def judge(self, state: View, policy: Any, out: Out) -> None:
        pending = state.pending.astype("f8")
        out.judge(np.where(np.isnan(pending), -1, np.where(pending > 0, 1, 0)), pending_state=pending)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return "page retirement waits for a reset"
