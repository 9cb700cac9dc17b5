"""What a report says, whatever it is shown as. Written as JSON just as it stands here."""

from __future__ import annotations

import msgspec


class Band(msgspec.Struct, frozen=True):
    """One band of the score. hours: GPU-hours in it; share: of all GPU-hours; typical: of a typical week.

    over_time: GPU-hours in equal parts of the window. now: GPUs in it at the window's end.
    """

    condition: str
    band: str
    hours: float
    share: float
    typical: float | None
    now: int
    over_time: list[float]


class ModeCount(msgspec.Struct, frozen=True):
    """One failure mode. expected: by the specification, for the GPU-hours of the window; low to high: the central
    95 % interval of a Poisson distribution around that.
    """

    mode: str
    frequency: str
    count: int
    expected: float | None = None
    low: int | None = None
    high: int | None = None
    verdict: str = ""


class Alert(msgspec.Struct, frozen=True):
    """One actionable alert. kind: "case" or "prediction". gpus: how many GPUs it is about.

    step: how far the workflow of the first one has come. waits: what it waits for; both empty where nothing is known.
    """

    ts: int
    kind: str
    node: str
    gpu: str
    action: str
    cause: str
    incident: str = ""
    gpus: int = 1
    step: str = ""
    waits: str = ""


class Alerts(msgspec.Struct, frozen=True):
    """per_day: per day and 1,000 GPUs, None where no GPU was seen. by_day: of each day of the window (UTC).

    listed: the first ones. automatic: cases that need nobody, by what opened them.
    """

    count: int
    per_day: float | None
    budget: float
    by_day: list[tuple[str, int]]
    listed: list[Alert]
    more: int
    automatic: dict[str, int]


class Capacity(msgspec.Struct, frozen=True):
    """GPU-hours: of all, out of service (weight 0), and lost (weights below 1 count in part)."""

    gpu_hours: float
    out_hours: float
    lost_hours: float
    lost_share: float


class Worst(msgspec.Struct, frozen=True):
    """A GPU or a node that lost most. cases: opened in the window."""

    name: str
    node: str
    lost_hours: float
    cases: int
    cause: str


class XidCount(msgspec.Struct, frozen=True):
    """events: identical ones within the coalescing time count once. lines: as many as were printed."""

    name: str
    meaning: str
    events: int
    lines: int
    gpus: int


class FamilyCount(msgspec.Struct, frozen=True):
    """Incidents of one family. hours_to_resolve: mean of those that were resolved."""

    family: str
    opened: int
    open: int
    resolved: int
    hours_to_resolve: float | None


class Held(msgspec.Struct, frozen=True):
    """A removal that was held back. until: 0 = it still is, or was when the window ended."""

    ts: int
    until: int
    gpu: str
    node: str
    held_by: str
    cause: str


class Fleet(msgspec.Struct, frozen=True):
    """gpus: that were judged in the window. gpu_days: for how long in all. listed: that inventories name now."""

    gpus: int
    nodes: int
    gpu_days: float
    listed: int
    models: dict[str, int]
    drivers: dict[str, int]


class Report(msgspec.Struct, frozen=True):
    """start, end: the window, ms. notes: what the numbers do not cover."""

    source: str
    start: int
    end: int
    fleet: Fleet
    bands: list[Band]
    modes: list[ModeCount]
    alerts: Alerts
    capacity: Capacity
    worst_gpus: list[Worst]
    worst_nodes: list[Worst]
    xids: list[XidCount]
    incidents: list[FamilyCount]
    incidents_known: bool
    held: list[Held]
    held_more: int
    records: int
    notes: list[str]
