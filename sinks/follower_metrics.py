"""What a sink's follower says of itself, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from sinks.families import counter, gauge


class FollowerStats(NamedTuple):
    """sink: its name. away: its log does not answer. lag_records: not applied yet; lag_s: for how long so.

    applied, unreadable: records by topic; the latter were left out. retries: times that the world would not take
    what it was given. dead_letters: written about unreadable records.
    """

    sink: str
    away: bool = False
    lag_records: int = 0
    lag_s: float = 0.0
    applied: Mapping[str, int] = {}
    unreadable: Mapping[str, int] = {}
    retries: int = 0
    dead_letters: int = 0


class FollowerMetrics(Collector):
    """ask: called at each collection."""

    def __init__(self, ask: Callable[[], FollowerStats]) -> None:
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        stats = self._ask()
        one, by_topic = ("sink",), ("sink", "topic")
        yield gauge(
            "gpu_vitals_log_unavailable",
            "1 while the log that the sink reads does not answer.",
            one,
            [((stats.sink,), stats.away)],
        )
        yield gauge(
            "gpu_vitals_sink_lag_records",
            "Records that the sink has not applied yet.",
            one,
            [((stats.sink,), stats.lag_records)],
        )
        yield gauge(
            "gpu_vitals_sink_lag_seconds",
            "For how long the sink has been behind, or could not tell; 0: it has applied all there is.",
            one,
            [((stats.sink,), stats.lag_s)],
        )
        yield counter(
            "gpu_vitals_sink_records",
            "Records that the sink has applied.",
            by_topic,
            [((stats.sink, topic), count) for topic, count in stats.applied.items()],
        )
        yield counter(
            "gpu_vitals_sink_retries",
            "Times that the world would not take what the sink gave it.",
            one,
            [((stats.sink,), stats.retries)],
        )
        yield counter(
            "gpu_vitals_sink_unreadable",
            "Records that the sink left out: they do not belong on their topic.",
            by_topic,
            [((stats.sink, topic), count) for topic, count in stats.unreadable.items()],
        )
        yield counter(
            "gpu_vitals_sink_dead_letters",
            "Dead letters that the sink has written about those.",
            one,
            [((stats.sink,), stats.dead_letters)],
        )
