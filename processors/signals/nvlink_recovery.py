from __future__ import annotations

import msgspec

from processors.counting import CounterRate
from processors.windows import RateWindow
from schemas.fields import NVLINK_RECOVERED, NVLINK_RECOVERY_TOTAL
from schemas.policy import Caps, Thresholds


class NvlinkRecovery(CounterRate):
    """NVLinks that went down and came back, per minute: a sound link never does (DCGM's limit is one within a minute).

    Those that did not come back: `nvlink_unrecovered`.
    """

    name = "nvlink_recovery"
    fields = (NVLINK_RECOVERY_TOTAL, NVLINK_RECOVERED)
    window = RateWindow("recoveries", slots=4, slot_s=15)
    quantity = "recoveries_per_minute"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=1.0, inclusive=True)  # recoveries per minute
        caps: Caps = Caps(warning=0.7, critical=0.4)
