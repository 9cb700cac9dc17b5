from __future__ import annotations

import msgspec

from processors.counting import CounterRate
from processors.windows import RateWindow
from schemas.fields import PCIE_REPLAY_COUNTER
from schemas.policy import Caps, Thresholds
from schemas.states import Family


class PcieReplay(CounterRate):
    """PCIe replays per minute: a link that keeps retransmitting wants reseating.

    The warning limit is what a bit error rate of 1e-12 gives on a Gen5 x16 link (31 a minute); ten times as
    many are beyond chance.
    """

    name = "pcie_replay"
    family = Family.BUS
    fields = (PCIE_REPLAY_COUNTER,)
    window = RateWindow("replays", slots=12, slot_s=5)
    quantity = "replays_per_minute"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=31.0, critical=310.0)  # replays per minute
        caps: Caps = Caps(warning=0.7, critical=0.4)
