from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Report, Signal
from processors.state import Column, View
from schemas import records
from schemas.policy import Caps, Thresholds
from schemas.products import product
from schemas.states import Family

UNKNOWN, OPTIONAL, WIRED = 0, 1, 2


class NvlinkLinks(Signal):
    """NVLinks that are down though they should be up.

    Disabled and unsupported links are no fault. Where links exist only if somebody has fitted a bridge (PCIe cards),
    or the product is not known, only those count that have been up before; an operator's word forgets them.
    Critical is where the product specification (section 8) asks for maintenance. No number of links takes a GPU out of
    service: it computes all the same, and whether its group does is the group's verdict.
    """

    name = "nvlink_links"
    family = Family.NVLINK
    reads = (records.Inventory, records.LinkStatus)
    quantity = "links_down_count"
    columns = {
        "up": Column("i1", fill=-1),  # -1: not told
        "down": Column("i1"),
        "most": Column("i1"),  # up at any time
        "wiring": Column("i1"),
    }

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=1.0, critical=3.0, inclusive=True)  # links
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        if isinstance(report.record, records.LinkStatus):
            links, told = report.record.links[:127], np.array(_wiring(report.record.model), "i1")
            up = links.count("up")
            state.up, state.down, state.most = up, links.count("down"), np.maximum(state.most, up)
        else:
            assert isinstance(report.record, records.Inventory)
            wiring = [_wiring(gpu.model) for gpu in report.record.gpus]
            told = np.array([*wiring, UNKNOWN], "i1")[report.entry]
        state.wiring = np.where(told == UNKNOWN, state.wiring, told)
        self._judge(state, policy, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy:
            self._judge(state, policy, out)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        state.most = np.maximum(state.up, 0)
        self._judge(state, policy, out)

    def _judge(self, state: View, policy: Any, out: Out) -> None:
        up, down = state.up.astype("f8"), state.down.astype("f8")
        lost = np.where(state.wiring == WIRED, down, np.minimum(down, state.most - up))
        missing = np.where(up < 0, np.nan, lost)
        out.judge(policy.limits.classes(missing), links_down_count=missing)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"{value:g} NVLink{'' if value == 1 else 's'} down"
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"


def _wiring(model: str) -> int:
    known = product(model)
    if known is None:
        return UNKNOWN
    return OPTIONAL if known.bridged else WIRED
