from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.load import under_load
from processors.signal import Out, Seconds, Share, Signal, Wave
from processors.state import Column, View
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    PCIE_GENERATION,
    PCIE_GENERATION_MAX,
    PCIE_WIDTH,
    PCIE_WIDTH_MAX,
    POWER,
    POWER_LIMIT,
)
from schemas.policy import Caps, Thresholds

Array = npt.NDArray[Any]

_MB_PER_S = np.array([np.nan, 250.0, 500.0, 984.0, 1968.0, 3936.0, 7872.0])  # of a lane, by generation


class PcieLink(Signal):
    """Bandwidth of the PCIe link, in percent of what this GPU could have in this machine.

    Links fall back to fewer lanes or a lower generation when a connector is dirty or a riser bad. They do the same of
    their own accord while the GPU is idle (`nvidia-smi`, "Link Width"), so only a link that stays low for `after_s`
    under load counts; see `clocks` for what load is.
    """

    name = "pcie_link"
    fields = (
        PCIE_GENERATION_MAX,
        PCIE_WIDTH_MAX,
        PCIE_GENERATION,
        PCIE_WIDTH,
        CLOCK_EVENT_REASONS,
        POWER,
        POWER_LIMIT,
    )
    quantity = "link_percent"
    columns = {"percent": Column("f4"), "loaded_s": Column("f4", fill=0.0)}  # loaded_s: since it is as it is

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        after_s: Seconds = 60.0
        load_power_share: Share = 0.3
        limits: Thresholds = Thresholds(warning=100.0, critical=50.0, falling=True)  # percent
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        now = _mb_per_s(wave[PCIE_GENERATION], wave[PCIE_WIDTH])
        best = _mb_per_s(wave[PCIE_GENERATION_MAX], wave[PCIE_WIDTH_MAX])
        percent = np.minimum(100.0 * now / best, 100.0)
        state.percent, state.loaded_s = percent, 0.0
        settled = np.flatnonzero(~(percent < 100.0))  # at its best, or blank
        out.judge(np.where(np.isnan(percent), -1, 0)[settled], where=settled, link_percent=percent[settled])

    def on_samples(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        percent = state.percent
        low = percent < 100.0
        if not low.any():
            return
        loaded = low & under_load(wave, policy.load_power_share)
        loaded_s = state.loaded_s + np.where(loaded, np.nan_to_num(wave.dt), 0.0)
        state.loaded_s = np.where(loaded, np.minimum(loaded_s, policy.after_s), state.loaded_s)
        lasting = np.flatnonzero(loaded & (loaded_s >= policy.after_s))
        if lasting.size:
            values = percent[lasting].astype("f8")
            out.judge(policy.limits.classes(values), where=lasting, link_percent=values)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"PCIe link: {value:.3g} % of its bandwidth under load, fewer lanes or a lower generation"
        return measured if limit is None else f"{measured} ({level} limit {limit:g})"


def _mb_per_s(generation: Array, width: Array) -> Array:
    """[N] one direction; NaN where unknown. Generations yet to come count as the newest known."""
    known = (generation >= 1) & (width >= 1)
    number = np.where(known, np.minimum(np.nan_to_num(generation), len(_MB_PER_S) - 1), 0).astype("i8")
    return np.asarray(_MB_PER_S[number] * np.where(known, width, np.nan))
