from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from processors.diagnosis import Diagnosis, diagnose
from processors.signal import Fleet, Out, Report, Signal
from processors.state import Column, View
from schemas.health_codes import CODES
from schemas.records import Diagnostic as DiagnosticRecord
from schemas.states import Action, Level


class Diagnostic(Signal):
    """The GPU's newest diagnostic that came to a result: a failed one evicts, one with warnings lowers the score.

    A failed memory test has found corrupt data; a failed row remap or too many retired pages want a replacement.
    What failed is taken back only by a diagnostic of the same level at least: a quick look at the software proves
    nothing about memory. One that is not complete proves nothing at all (`diagnostic_incomplete`).
    """

    name = "diagnostic"
    reads = (DiagnosticRecord,)
    quantity = "finding_code"
    columns = {
        "result": Column("i1", fill=-1),  # the class; -1: there was none yet
        "depth": Column("i1"),  # the level that it ran at
        "facts": Column("i1"),  # bits: 1 corruption, 2 replace
        "code": Column("i4"),
    }

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        told = report.record
        assert isinstance(told, DiagnosticRecord)
        found, kept, depth = diagnose(told), self._kept(state), int(state.depth[0])
        if found is None or (told.level < depth and found < kept):
            return
        level = max(0, min(told.level, 127))
        if found.level is Level.EVICT:  # with tests left out, perhaps: what was found before still has to be disproved
            corruption, replace = found.corruption or kept.corruption, found.replace or kept.replace
            found = found._replace(corruption=corruption, replace=replace)
            level = max(level, depth) if kept.level > Level.FINE else level
        state.result, state.depth = int(found.level), level
        state.facts, state.code = found.corruption | found.replace << 1, max(0, min(found.code, 2**31 - 1))
        self._judge(state, None, out, anew=found.level > Level.FINE)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if fleet.new_policy:
            for row in np.flatnonzero(state.result >= 0).tolist():
                self._judge(state, row, out, anew=False)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        if state.result[0] >= 0:
            state.result, state.depth, state.facts, state.code = 0, 0, 0, 0
            self._judge(state, None, out, anew=False)

    def _kept(self, state: View) -> Diagnosis:
        facts = int(state.facts[0])
        return Diagnosis(Level(int(state.result[0])), bool(facts & 1), bool(facts & 2), int(state.code[0]))

    def _judge(self, state: View, row: int | None, out: Out, *, anew: bool) -> None:
        at = row or 0
        facts = int(state.facts[at])
        out.judge(
            int(state.result[at]),
            where=None if row is None else np.array([row]),
            action=Action.EVICT_PERMANENTLY if facts & 2 else None,
            corruption=bool(facts & 1),
            anew=anew,
            finding_code=float(state.code[at]),
        )

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        what = "has warnings" if level == "warning" else "failed"
        known = CODES.get(int(value)) if value else None
        found = f": {known.meaning}" if known else f": DCGM finding {value:g}" if value else ""
        return f"diagnostic {what}{found}"
