from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.signal import Fleet, Out, Signal, Wave
from processors.state import Column, View
from schemas.fields import LINKS, NVLINK_CRC_FLIT
from schemas.policy import Caps

Array = npt.NDArray[Any]

_HOUR_MS = 3_600_000.0
FORGOTTEN = 0.5  # errors: what remains of less need not be carried on for hours


class NvlinkWorst(Signal):
    """Which NVLink has the most CRC flit errors, where one has more per hour than the whole GPU may have.

    Its value is the number of the link. The rates are smoothed over an hour: what was counted t hours ago weighs
    1 / (1 + t), or less where there were errors in between.
    """

    name = "nvlink_worst"
    fields = NVLINK_CRC_FLIT
    quantity = "link_number"
    columns = {"errors": Column("f4", cells=LINKS, fill=0.0), "newest": Column("i8"), "link": Column("i1", fill=-1)}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        warning_per_hour: Annotated[float, msgspec.Meta(ge=0.0)] = 100.0  # errors of one link
        critical_per_hour: Annotated[float, msgspec.Meta(ge=0.0)] = 10_000.0
        caps: Caps = Caps()

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        increases = np.array([wave.increase(field) for field in NVLINK_CRC_FLIT])
        told = ~np.isnan(increases).all(axis=0)
        errors, rows = state.errors.array, state.errors.positions()
        before = errors[:, rows].astype("f8") * _weight(wave.ts - state.newest)
        after = before + np.nan_to_num(increases)
        errors[:, rows] = after
        state.newest = np.maximum(state.newest, wave.ts)
        state.link = np.where(told, np.where(after.any(axis=0), after.argmax(axis=0), LINKS), -1)
        self._judge(errors[:, rows], state.link, policy, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        link = state.link
        erring = (link >= 0) & (link < LINKS)
        if not (fleet.new_policy or erring.any()):
            return
        at = np.arange(len(link)) if fleet.new_policy else np.flatnonzero(erring)
        array, rows = state.errors.array, state.errors.positions()[at]
        errors = array[:, rows] * _weight(fleet.node_ts[at] - state.newest[at])
        forgotten = erring[at] & (errors.max(axis=0) < FORGOTTEN)
        array[:, rows[forgotten]] = 0.0
        link[at[forgotten]] = LINKS
        state.link = link
        self._judge(errors, link[at], policy, out, at)

    def _judge(self, errors: Array, link: Array, policy: Any, out: Out, where: Array | None = None) -> None:
        most = errors.max(axis=0)
        classes = (most > policy.warning_per_hour).astype("i1") + (most > policy.critical_per_hour)
        out.judge(np.where(link < 0, -1, classes).astype("i1"), where=where, link_number=link.astype("f8"))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"most CRC errors on NVLink {value:g}, more than one link may have ({level})"


def _weight(age_ms: Array) -> Array:
    return 1.0 / (1.0 + np.maximum(age_ms, 0) / _HOUR_MS)
