"""Whether GPUs work, and for how much of that time they were held back."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from processors.signal import Signal, Wave
from processors.state import Column, View
from schemas.fields import CLOCK_EVENT_REASONS, POWER, POWER_LIMIT

Array = npt.NDArray[Any]

IDLE = 0x1
NEGLIGIBLE = 1e-4  # a share of time: what remains of it need not be carried on for hours


def under_load(wave: Wave, power_share: float) -> Array:
    """[N] the idle bit is clear, and power is at least this share of its limit where both are known.

    False where the GPU does not tell its clock event reasons.
    """
    given = wave[CLOCK_EVENT_REASONS]
    blank = np.isnan(given)
    reasons = np.where(blank, 0.0, given).astype("i4")
    idle = wave[POWER] < power_share * wave[POWER_LIMIT]  # False where either is unknown
    return np.asarray(((reasons & IDLE) == 0) & ~idle & ~blank)


class HeldBack(Signal):
    """The share of the time under load in which any of `bits` of the clock event reasons was set.

    Declare `bits`; the Policy has `smoothing_s` and `load_power_share`.
    """

    fields: ClassVar[tuple[int, ...]] = (CLOCK_EVENT_REASONS, POWER, POWER_LIMIT)
    columns = {"share": Column("f8", fill=0.0)}
    bits: ClassVar[int]

    def held_back_percent(self, wave: Wave, state: View, policy: Any) -> Array:
        """Smoothed over the time under load; NaN where the GPU does not say why it clocks as it does."""
        given = wave[CLOCK_EVENT_REASONS]
        lowest = self.bits & -self.bits
        if not (np.fmax.reduce(given, initial=0.0) >= lowest or state.share.any()):  # as most always
            return given * 0.0
        blank = np.isnan(given)
        held_back = (np.where(blank, 0.0, given).astype("i4") & self.bits) != 0
        loaded = under_load(wave, policy.load_power_share)
        step = np.where(loaded, wave.dt / (policy.smoothing_s + wave.dt), 0.0)
        share = state.share + np.nan_to_num(step) * (held_back - state.share)
        state.share = np.where(share < NEGLIGIBLE, 0.0, share)
        return np.where(blank, np.nan, 100.0 * state.share)
