from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.signal import Fleet, Out, Report, Seconds, Signal
from processors.state import Column, View
from schemas.records import PolicyViolation

Array = npt.NDArray[Any]

DOUBLE_BIT = "dbe"
PASSING = ("pcie", "retired-pages", "thermal", "power", "nvlink")  # a bit each, in this order
WORDS = {
    "pcie": "PCIe replays",
    "retired-pages": "retired memory pages",
    "thermal": "heat",
    "power": "power",
    "nvlink": "NVLink errors",
}
DOUBLE_BITS = 0x20  # above the bits of PASSING


class DcgmPolicy(Signal):
    """Violations of the policies set in DCGM's engine, which it reports as they happen.

    An uncorrectable memory error (`dbe`) has corrupted data: it evicts, until an operator restores the GPU. The
    others lower the score for `lower_for_s` since the last of them: what they count is judged by signals of their
    own. Violations that are Xids are left to the signals on Xids.
    """

    name = "dcgm_policy"
    reads = (PolicyViolation,)
    quantity = "conditions_bits"
    columns = {"bits": Column("i1"), "at": Column("i8")}  # at: stream clock of the last of PASSING, ms

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        lower_for_s: Seconds = 3600.0

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        violation = report.record
        assert isinstance(violation, PolicyViolation)
        here = np.array([0])
        if violation.condition == DOUBLE_BIT:
            state.bits = state.bits | DOUBLE_BITS
            self._judge(state, here, out, anew=True)
        elif violation.condition in PASSING:
            state.bits = state.bits | 1 << PASSING.index(violation.condition)
            state.at = np.maximum(state.at, report.clock_ms)
            self._judge(state, here, out)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        bits = state.bits
        if not bits.any():
            return
        over = (bits & ~DOUBLE_BITS > 0) & (fleet.now_ms - state.at >= policy.lower_for_s * 1000)
        state.bits = np.where(over, bits & DOUBLE_BITS, bits)
        self._judge(state, np.flatnonzero(bits > 0 if fleet.new_policy else over), out)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        if state.bits.any():
            state.bits = state.bits * 0
            self._judge(state, np.array([0]), out)

    def _judge(self, state: View, where: Array, out: Out, *, anew: bool = False) -> None:
        bits = state.bits
        worst = bits & DOUBLE_BITS > 0
        evict, rest = where[worst[where]], where[~worst[where]]
        if evict.size:
            out.judge(3, where=evict, corruption=True, anew=anew, conditions_bits=bits[evict].astype("f8"))
        if rest.size:
            classes = (bits[rest] > 0).astype("i1")
            out.judge(classes, where=rest, conditions_bits=bits[rest].astype("f8"))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        bits = int(value)
        if bits & DOUBLE_BITS:
            return "DCGM policy: uncorrectable memory error"
        held = [WORDS[name] for at, name in enumerate(PASSING) if bits >> at & 1]
        return f"DCGM policy violated: {', '.join(held) or 'none'}"
