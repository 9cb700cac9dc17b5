"""What signals are tried with: plausible samples of fields and other observations, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from processors.testing import Values
from schemas import records
from schemas.fields import Field, Kind
from schemas.records import Gpu

NODE = "n1"


class Draw:
    """Numbers that look random and are the same on every machine."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, limit: int) -> int:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 33) % limit


_GAUGES = {
    "C": tuple(range(-5, 105, 5)),
    "MHz": (345, 1250, 1500, 1700, 1830, 1980),
    "bits": (0x0, 0x1, 0x2, 0x4, 0x10, 0x20, 0x40, 0x80),
    "W": (60, 150, 400, 690),
}
_STEPS = {Kind.COUNTER: (0, 0, 0, 1, 12, 400, 20_000), Kind.LEVEL: (0, 0, 0, 0, 1, 7, 300)}


class Stream:
    """A field of one GPU, second by second."""

    def __init__(self, field: Field, draw: Draw) -> None:
        self._draw = draw
        self._kind = field.kind
        self._choice = _GAUGES.get(field.unit, (0, 1)) if field.kind is Kind.GAUGE else (0, 1)
        self._value = 0.0 if field.kind in _STEPS else self._drawn()

    def _drawn(self) -> float:
        return float(self._choice[self._draw.below(len(self._choice))])

    def value(self) -> float | None:
        draw = self._draw
        if self._kind in _STEPS:
            restarts = self._kind is Kind.COUNTER and draw.below(30) == 0
            self._value = 0.0 if restarts else self._value + _STEPS[self._kind][draw.below(7)]
        elif draw.below(4) == 0:  # gauges and flags keep their value for some seconds
            self._value = self._drawn()
        return None if draw.below(10) == 0 else self._value


def _of(draw: Draw, gpus: Sequence[Gpu]) -> dict[str, Any]:
    return {"ts": 0, "node": NODE, "uuid": gpus[0].uuid, "bdf": gpus[0].bdf}


def _some_inventory(draw: Draw, gpus: Sequence[Gpu]) -> records.Observation:
    """The first GPU comes and goes; the machine starts anew now and then."""
    listed = [records.GpuInfo(uuid=each.uuid, bdf=each.bdf) for each in gpus[draw.below(2) :]]
    return records.Inventory(ts=0, node=NODE, gpus=listed, boot=f"boot-{draw.below(2)}")


def _some_source(draw: Draw, gpus: Sequence[Gpu]) -> records.Observation:
    state = ("ok", "failing", "failing", "ended")[draw.below(4)]
    return records.SourceStatus(ts=0, node=NODE, source=("dcgm", "kmsg")[draw.below(2)], state=state, detail="hung")


def _some_incident(draw: Draw, gpus: Sequence[Gpu]) -> records.Observation:
    health, system = ("pass", "warn", "fail")[draw.below(3)], ("pcie", "memory", "nvlink")[draw.below(3)]
    return records.HealthIncident(**_of(draw, gpus), system=system, health=health, code=draw.below(120))


def _some_violation(draw: Draw, gpus: Sequence[Gpu]) -> records.Observation:
    condition = ("dbe", "pcie", "retired-pages", "thermal", "power", "nvlink", "xid")[draw.below(7)]
    return records.PolicyViolation(**_of(draw, gpus), condition=condition, value={"errnum": 48})


def _some_links(draw: Draw, gpus: Sequence[Gpu]) -> records.Observation:
    return records.LinkStatus(**_of(draw, gpus), links=[("up", "down")[draw.below(9) == 0] for _ in range(18)])


def _some_diagnostic(draw: Draw, gpus: Sequence[Gpu]) -> records.Observation:
    result = ("pass", "warn", "fail", "incomplete")[draw.below(4)]
    test = records.DiagnosticTest(name="memory", result=result)
    return records.Diagnostic(**_of(draw, gpus), tool="dcgmi diag", level=2, result=result, tests=[test])


def _some_bandwidth(draw: Draw, gpus: Sequence[Gpu]) -> records.Observation:
    uuid = gpus[0].uuid
    return records.Bandwidth(ts=0, node=NODE, uuid=uuid, peer="GPU-peer", gb_per_s=float(draw.below(10) * 50))


REPORTS: dict[type[records.Observation], Callable[[Draw, Sequence[Gpu]], records.Observation]] = {
    records.Inventory: _some_inventory,
    records.SourceStatus: _some_source,
    records.HealthIncident: _some_incident,
    records.PolicyViolation: _some_violation,
    records.LinkStatus: _some_links,
    records.Diagnostic: _some_diagnostic,
    records.Bandwidth: _some_bandwidth,
}


def values_of(values: Values) -> Sequence[float | None]:
    assert isinstance(values, Sequence)
    return values
