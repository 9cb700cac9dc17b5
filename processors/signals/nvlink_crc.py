from __future__ import annotations

import msgspec

from processors.counting import CounterRate
from processors.windows import RateWindow
from schemas.fields import NVLINK_CRC_FLIT_TOTAL, NVLINK_RX_ERRORS
from schemas.policy import Thresholds
from schemas.states import Family


class NvlinkCrc(CounterRate):
    """NVLink CRC flit errors per hour, all links together: retransmissions slow tensor-parallel groups down.

    The window moves in steps of four minutes: what is older than 56 minutes may have left it. Limits: product
    specification, section 3. NVLink 5 counts packets received with errors instead.
    """

    name = "nvlink_crc"
    family = Family.NVLINK
    fields = (NVLINK_CRC_FLIT_TOTAL, NVLINK_RX_ERRORS)
    window = RateWindow("errors", slots=15, slot_s=240)
    quantity = "errors_per_hour"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=100.0, critical=10_000.0, evict=100_000.0)  # errors per hour
