from __future__ import annotations

import msgspec

from processors.counting import CounterRate
from processors.windows import RateWindow
from schemas.fields import NVLINK_REPLAY_TOTAL
from schemas.policy import Caps, Thresholds


class NvlinkReplay(CounterRate):
    """NVLink replays per minute, all links together: a sound link has none (DCGM's limit is one within a minute)."""

    name = "nvlink_replay"
    fields = (NVLINK_REPLAY_TOTAL,)
    window = RateWindow("replays", slots=4, slot_s=15)
    quantity = "replays_per_minute"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=1.0, inclusive=True)  # replays per minute
        caps: Caps = Caps(warning=0.7, critical=0.4)
