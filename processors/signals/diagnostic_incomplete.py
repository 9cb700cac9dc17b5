from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.diagnosis import diagnose
from processors.signal import Fleet, Out, Report, Signal
from processors.state import Column, View
from schemas.policy import Caps
from schemas.records import Diagnostic


class DiagnosticIncomplete(Signal):
    """The GPU's newest diagnostic left out tests that its level promises: shown, without effect on the score.

    DCGM ends such a run as if all were well (its CUDA plugins are not installed, say).
    """

    name = "diagnostic_incomplete"
    reads = (Diagnostic,)
    quantity = "incomplete_state"
    columns = {"incomplete": Column("i1", fill=-1)}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        caps: Caps = Caps(warning=1.0, critical=1.0, evict=1.0)

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        assert isinstance(report.record, Diagnostic)
        state.incomplete = int(diagnose(report.record) is None)
        out.judge(np.asarray(state.incomplete), incomplete_state=state.incomplete.astype("f8"))

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        told = np.flatnonzero(state.incomplete >= 0)
        if fleet.new_policy and told.size:
            kept = state.incomplete[told]
            out.judge(kept, where=told, incomplete_state=kept.astype("f8"))

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return "the newest diagnostic is incomplete: it proves nothing"
