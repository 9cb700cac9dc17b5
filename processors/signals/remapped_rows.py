from __future__ import annotations

import msgspec

from processors.counting import LatestLevel
from schemas.fields import REMAPPED_UNCORRECTABLE
from schemas.policy import Thresholds
from schemas.states import Family


class RemappedRows(LatestLevel):
    """Memory rows remapped for uncorrectable errors, over the GPU's life: DCGM warns at 512. Ampere and later."""

    name = "remapped_rows"
    family = Family.MEMORY
    fields = (REMAPPED_UNCORRECTABLE,)
    quantity = "rows_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=512.0, inclusive=True)  # rows
