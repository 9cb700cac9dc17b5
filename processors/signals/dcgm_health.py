from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np

from processors.signal import Fleet, Out, Report, Signal
from processors.state import Column, View
from schemas.health_codes import HealthCode, Verdict, finding
from schemas.records import HealthIncident
from schemas.states import Action, Level

KEPT = 4  # how many incidents of one GPU are remembered: the gravest
XIDS = "all"  # the watch under which DCGM reports Xids
SYSTEMS = ("pcie", "nvlink", "pmu", "mcu", "memory", "sm", "inforom", "thermal", "power", "driver")
OTHER = 0x3F


class Incident(NamedTuple):
    """One that stands. As one integer in the state; 0 = none. system: the watch's number."""

    code: int
    system: int
    failed: bool

    def packed(self) -> int:
        return 1 | self.failed << 1 | self.system << 2 | self.code << 8

    @classmethod
    def unpacked(cls, number: int) -> Incident:
        return cls(number >> 8, number >> 2 & 0x3F, bool(number >> 1 & 1))

    @property
    def says(self) -> HealthCode:
        return finding(self.code, self.failed)


class DcgmHealth(Signal):
    """What DCGM's health watches find of the GPU, by the number of the incident (`schemas/health_codes.py`).

    An incident stands until DCGM says that it is over, or an operator restores the GPU; one that tells of corrupt
    data until an operator does. An agent or engine that starts anew ends none. What DCGM calls a warning is never
    more than one here, corrupt data excepted. Incidents that are Xids are left to the signals on Xids, those of MIG
    instances to their level: nothing counts twice.
    """

    name = "dcgm_health"
    reads = (HealthIncident,)
    quantity = "health_code"
    columns = {"incidents": Column("i4", cells=KEPT)}

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        told = report.record
        assert isinstance(told, HealthIncident)
        known = 0 < told.code <= 0xFFFF
        if told.system == XIDS or told.gi is not None or not known or told.health not in ("pass", "warn", "fail"):
            return
        incident = Incident(told.code, _system(told.system), told.health == "fail")
        if incident.says.verdict in (Verdict.ELSEWHERE, Verdict.NOTE):
            return
        standing = self._standing(state, 0)
        lead = self._lead(standing)
        key = incident.code, incident.system
        if told.health != "pass":
            standing[key] = incident
        elif key in standing and not standing[key].says.corruption:
            del standing[key]
        self._keep(state, standing)
        self._judge(standing, None, out, anew=self._lead(standing) != lead)

    def on_timer(self, fleet: Fleet, state: View, policy: Any, out: Out) -> None:
        if not fleet.new_policy:
            return
        cells = state.incidents
        for row in np.flatnonzero(cells.array[:, cells.rows].any(axis=0)).tolist():
            self._judge(self._standing(state, row), np.array([row]), out, anew=True)

    def on_restore(self, state: View, policy: Any, out: Out) -> None:
        if self._standing(state, 0):
            self._keep(state, {})
            self._judge({}, None, out, anew=False)

    # --- what is kept ------------------------------------------------------------------------------------------

    def _standing(self, state: View, row: int) -> dict[tuple[int, int], Incident]:
        cells = state.incidents
        packed = cells.array[:, cells.rows][:, row].tolist()
        found = [Incident.unpacked(number) for number in packed if number]
        return {(incident.code, incident.system): incident for incident in found}

    def _keep(self, state: View, standing: dict[tuple[int, int], Incident]) -> None:
        """The gravest; of equals the first."""
        while len(standing) > KEPT:
            del standing[min(reversed(standing), key=lambda key: _gravity(standing[key]))]
        numbers = [incident.packed() for incident in standing.values()]
        state.incidents.array[:, state.incidents.positions()[0]] = numbers + [0] * (KEPT - len(numbers))

    # --- what it means -----------------------------------------------------------------------------------------

    def _lead(self, standing: dict[tuple[int, int], Incident]) -> Incident | None:
        return max(standing.values(), key=_gravity, default=None)

    def _judge(self, standing: dict[tuple[int, int], Incident], where: Any, out: Out, *, anew: bool) -> None:
        lead = self._lead(standing)
        found = [_gravity(incident) for incident in standing.values()]
        out.judge(
            int(max((level for level, _, _ in found), default=Level.FINE)),
            where=where,
            action=Action.EVICT_PERMANENTLY if any(replace for _, _, replace in found) else None,
            corruption=any(corruption for _, corruption, _ in found),
            anew=anew,
            health_code=lead.code if lead else 0,
        )

    def text(self, level: str, quantity: str, value: float, unit: str, limit: float | None) -> str:
        return f"DCGM health: {finding(int(value), level == 'evict').meaning}"


def _system(name: str) -> int:
    """A number for each watch, those that DCGM may yet add included (`0x4000`)."""
    if name in SYSTEMS:
        return SYSTEMS.index(name)
    try:
        return min(int(name, 16).bit_length(), 32) + 20 if name.startswith("0x") else OTHER
    except ValueError:
        return OTHER


def _gravity(incident: Incident) -> tuple[Level, bool, bool]:
    """(level, whether data was corrupt, whether the GPU is to be replaced); graver ones are greater."""
    says = incident.says
    out = says.verdict is not Verdict.WARNING and (incident.failed or says.corruption)
    replace = out and says.verdict is Verdict.REPLACE
    return (Level.EVICT if out else Level.WARNING), says.corruption, replace
