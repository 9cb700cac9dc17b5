from __future__ import annotations

import msgspec

from processors.standing import Standing
from schemas.fields import REMAPPED_UNCORRECTABLE
from schemas.policy import Thresholds


class RemappedRows(Standing):
    """Memory rows remapped for uncorrectable errors, over the GPU's life: DCGM warns at 512. Ampere and later.

    512 is also where the hardware gives up and sets the failure flag, which `row_remap` judges; how many spare rows
    each bank has left (`remap_banks`) tells more, and earlier. Rows that were remapped for correctable errors (394)
    are no damage: an uncorrectable error may take their place.
    """

    name = "remapped_rows"
    kept = {"rows": REMAPPED_UNCORRECTABLE}
    quantity = "rows_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=512.0, inclusive=True)  # rows
