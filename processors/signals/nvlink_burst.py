from __future__ import annotations

import msgspec

from processors.counting import CounterRate
from processors.windows import RateWindow
from schemas.fields import NVLINK_CRC_FLIT_TOTAL, NVLINK_RX_ERRORS
from schemas.policy import Caps, Thresholds


class NvlinkBurst(CounterRate):
    """NVLink CRC flit errors within a minute, all links together: what DCGM calls a failure, at 100 per second.

    Over a minute, so that a source that asks but every 30 s is judged like one that asks each second.
    """

    name = "nvlink_burst"
    fields = (NVLINK_CRC_FLIT_TOTAL, NVLINK_RX_ERRORS)
    window = RateWindow("errors", slots=4, slot_s=15)
    quantity = "errors_per_minute"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(critical=6000.0, inclusive=True)  # errors per minute
        caps: Caps = Caps(warning=0.7, critical=0.3)
