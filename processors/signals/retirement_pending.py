from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.counting import LatestLevel
from processors.signal import Out, Wave
from processors.state import View
from schemas.fields import RETIRED_PENDING

Array = npt.NDArray[Any]


class RetirementPending(LatestLevel):
    """A memory page that is to be retired at the next reset or driver load (field 392, a flag). Before Ampere.

    Until then the driver still hands the page out: a reset clears the flag and the danger. Ampere and later remap
    rows instead (`row_remap`) and leave it blank.
    """

    name = "retirement_pending"
    fields = (RETIRED_PENDING,)
    quantity = "pending_state"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def measure(self, wave: Wave, state: View, policy: Any) -> Array:
        return wave[RETIRED_PENDING]

    def judge(self, values: Array, policy: Any, out: Out) -> None:
        out.judge(np.where(np.isnan(values), -1, np.where(values > 0, 1, 0)), pending_state=values)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return "page retirement waits for a reset"
