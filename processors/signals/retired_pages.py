from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.counting import LatestLevel
from processors.signal import Wave
from processors.state import View
from schemas.fields import RETIRED_DBE, RETIRED_SBE
from schemas.policy import Thresholds
from schemas.states import Family

Array = npt.NDArray[Any]


class RetiredPages(LatestLevel):
    """Memory pages retired for single- and double-bit errors, together. Ampere and later remap rows instead: blank.

    Limits: product specification, section 3.
    """

    name = "retired_pages"
    family = Family.MEMORY
    fields = (RETIRED_SBE, RETIRED_DBE)
    quantity = "pages_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=10.0, critical=40.0, evict=60.0)  # pages

    def measure(self, wave: Wave, state: View, policy: Any) -> Array:
        single, double = wave[RETIRED_SBE], wave[RETIRED_DBE]
        known = ~(np.isnan(single) & np.isnan(double))
        return np.where(known, np.nan_to_num(single) + np.nan_to_num(double), np.nan)
