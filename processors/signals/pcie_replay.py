from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from processors.counting import CounterRate
from processors.signal import Growth, Out, Trial, Wave
from processors.state import Column, View
from processors.windows import RateWindow
from schemas.fields import PCIE_GENERATION_MAX, PCIE_REPLAY_COUNTER, PCIE_WIDTH_MAX
from schemas.policy import Caps, Thresholds

Array = npt.NDArray[Any]

_GBIT_PER_S = np.array([32.0, 2.5, 5.0, 8.0, 16.0, 32.0, 64.0])  # of a lane, by generation; unknown = generation 5
_WIDTH = 16.0  # unless known
_GEN5_X16 = 31.0


class PcieReplay(CounterRate):
    """PCIe replays per minute: a link that keeps retransmitting wants reseating.

    The warning limit is what a bit error rate of 1e-12 gives on a Gen5 x16 link (31 a minute); ten times as
    many are beyond chance. For other links both are scaled by what the same rate gives there (16 on Gen4 x16). What
    counts is the best link that GPU and machine can have: the current one follows the load.
    """

    name = "pcie_replay"
    fields = (PCIE_REPLAY_COUNTER, PCIE_GENERATION_MAX, PCIE_WIDTH_MAX)
    counters = (PCIE_REPLAY_COUNTER,)
    window = RateWindow("replays", slots=12, slot_s=5, dtype="u2")
    columns: ClassVar = {"tolerated": Column("f4", fill=_GEN5_X16)}  # replays per minute
    quantity = "replays_per_minute"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=31.0, critical=310.0)  # replays per minute, on a Gen5 x16 link
        caps: Caps = Caps(warning=0.7, critical=0.4)

    def on_change(self, wave: Wave, state: View, policy: Any, out: Out) -> None:
        state.tolerated = _tolerated(wave)
        super().on_change(wave, state, policy, out)

    def on_growth(self, growth: Growth, state: View, policy: Any, trial: Trial) -> None:
        same = _tolerated(growth).reshape(growth.moved.shape) == state.tolerated
        trial.steady &= same.all(axis=0)
        super().on_growth(growth, state, policy, trial)

    def classes(self, sums: Array, state: View, policy: Any) -> Array:
        return super().classes(sums * (_GEN5_X16 / state.tolerated.astype("f8")), state, policy)

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        measured = f"pcie replay: {value:g} {unit}"
        return measured if limit is None else f"{measured} ({level} limit {limit:g} on a Gen5 x16 link)"


def _tolerated(wave: Wave) -> Array:
    """[N] replays per minute that a bit error rate of 1e-12 gives."""
    generation, width = np.nan_to_num(wave[PCIE_GENERATION_MAX]), np.nan_to_num(wave[PCIE_WIDTH_MAX])
    lanes = np.where(width >= 1, width, _WIDTH)
    gbit_per_s = _GBIT_PER_S[np.clip(generation, 0, len(_GBIT_PER_S) - 1).astype("i8")]
    return np.asarray(np.ceil(gbit_per_s * lanes * 0.06))
