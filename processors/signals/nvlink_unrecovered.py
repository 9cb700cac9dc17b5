from __future__ import annotations

import msgspec

from processors.counting import LatestLevel
from schemas.fields import NVLINK_NOT_RECOVERED
from schemas.policy import Caps, Thresholds


class NvlinkUnrecovered(LatestLevel):
    """NVLinks that went down and did not come back since the last reset, which NVLink 5 counts: bandwidth is lost."""

    name = "nvlink_unrecovered"
    fields = (NVLINK_NOT_RECOVERED,)
    quantity = "unrecovered_count"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(critical=1.0, inclusive=True)  # recoveries that failed
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"{value:g} recoveries of an NVLink failed since the last reset: reset the GPU"
