from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Out
from processors.standing import Standing
from processors.state import View
from schemas.fields import RETIRED_DBE, RETIRED_SBE
from schemas.policy import Thresholds


class RetiredPages(Standing):
    """Memory pages retired for single- and double-bit errors, together. Ampere and later remap rows instead: blank.

    Limits: product specification, section 3.
    """

    name = "retired_pages"
    kept = {"single": RETIRED_SBE, "double": RETIRED_DBE}
    quantity = "pages_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=10.0, critical=40.0, evict=60.0)  # pages

    def judge(self, state: View, policy: Any, out: Out) -> None:
        known = ~(np.isnan(state.single) & np.isnan(state.double))
        pages = np.where(known, np.nan_to_num(state.single) + np.nan_to_num(state.double), np.nan).astype("f8")
        out.judge(policy.limits.classes(pages), pages_count=pages)
