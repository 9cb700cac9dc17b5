"""What the pipeline tells of itself: its sources and its stages, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import Metric

from schemas import records
from sinks.families import counter, gauge


class StageStats(NamedTuple):
    """What a stage's runner counts. lag: records of its input that it has not stepped."""

    stage: str
    records: int
    outputs: int
    commits: int
    restores: int
    lag: int


def source_health(sources: dict[tuple[str, str], records.SourceStatus]) -> Iterator[Metric]:
    labels = ("source", "node")
    yield gauge(
        "gpu_vitals_source_up",
        "Whether a source could be read at its last try; absent once it has ended.",
        labels,
        [(at, status.state == "ok") for at, status in sources.items() if status.state != "ended"],
    )
    yield counter(
        "gpu_vitals_source_lost",
        "Observations that a source knows it has lost.",
        labels,
        [(at, status.lost) for at, status in sources.items()],
    )


def stage_health(stats: Iterable[StageStats]) -> Iterator[Metric]:
    stages = list(stats)
    for name, text in (
        ("records", "Records a stage has stepped."),
        ("outputs", "Records a stage has derived and committed."),
        ("commits", "Commits of a stage."),
        ("restores", "Times a stage has started from its checkpoint and position."),
    ):
        yield counter(
            f"gpu_vitals_stage_{name}",
            text,
            ("stage",),
            [((each.stage,), getattr(each, name)) for each in stages],
        )
    yield gauge(
        "gpu_vitals_stage_lag_records",
        "Records of its input that a stage has not stepped yet.",
        ("stage",),
        [((each.stage,), each.lag) for each in stages],
    )
