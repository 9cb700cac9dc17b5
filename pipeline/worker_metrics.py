"""What a worker measures of itself, for Prometheus: `gpu_vitals_stage_*`, `gpu_vitals_worker_*`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.worker import Running, Worker

COMMIT_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
RESTORE_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

PART = ("stage", "partition")
OF_PART: dict[str, tuple[str, Callable[[Running], float]]] = {
    "lag_records": ("Records of the input that are not stepped.", lambda each: each.lag),
    "watermark_timestamp_seconds": (
        "Append time of the newest record stepped.",
        lambda each: each.stats.stream_ms / 1e3,
    ),
    "last_commit_timestamp_seconds": ("When the last commit returned.", lambda each: each.stats.committed_ms / 1e3),
    "checkpoint_timestamp_seconds": ("When the state was last saved.", lambda each: each.stats.checkpoint_ms / 1e3),
}
OF_STAGE: dict[str, tuple[str, Callable[[Running], int]]] = {
    "records": ("Records stepped.", lambda each: each.stats.records),
    "outputs": ("Records derived and committed.", lambda each: each.stats.outputs),
    "commits": ("Commits.", lambda each: each.stats.commits),
    "restores": ("Restores, the first one of each partition included.", lambda each: each.stats.restores),
}


class WorkerMetrics(Collector):
    """`watch` is for the worker's `observe`; `page` may be asked from any thread."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._commits = self._histogram("commit", "How long commits took.", COMMIT_S)
        self._restores = self._histogram("restore", "From the start of a restore to the first new record.", RESTORE_S)
        self._seen: list[Running] = []

    def watch(self, running: Running) -> None:
        stage = running.part.stage
        running.stats.commit_took = self._commits.labels(stage).observe
        running.stats.restore_took = self._restores.labels(stage).observe
        self._seen.append(running)  # counters of partitions that have left go on counting

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        worker = self.worker
        if worker is None:
            return
        running = list(worker.running.values())
        for name, (about, value) in OF_PART.items():
            gauge = GaugeMetricFamily(f"gpu_vitals_stage_{name}", about, labels=PART)
            for each in running:
                if name == "lag_records" or value(each):
                    gauge.add_metric((each.part.stage, str(each.part.partition)), value(each))
            yield gauge
        for name, (about, count) in OF_STAGE.items():
            yield self._counter(f"stage_{name}", about, {s: self._sum(s, count) for s in worker.members})
        fenced = {stage: counts.fenced for stage, counts in worker.counts.items()}
        yield self._counter("stage_fenced", "Times that another owner had taken a partition.", fenced)
        rebalances = {stage: member.rebalances for stage, member in worker.members.items()}
        yield self._counter("worker_rebalances", "Times that partitions were assigned.", rebalances)
        partitions = GaugeMetricFamily("gpu_vitals_worker_partitions", "Partitions that it has.", labels=("stage",))
        for stage in worker.members:
            partitions.add_metric((stage,), sum(each.part.stage == stage for each in running))
        yield partitions
        away = GaugeMetricFamily("gpu_vitals_log_unavailable", "1 while Kafka cannot be used.", labels=("process",))
        away.add_metric(("worker",), float(bool(worker.problems())))
        yield away

    def _sum(self, stage: str, count: Callable[[Running], int]) -> int:
        return sum(count(each) for each in self._seen if each.part.stage == stage)

    def _counter(self, name: str, about: str, counts: dict[str, int]) -> CounterMetricFamily:
        counter = CounterMetricFamily(f"gpu_vitals_{name}", about, labels=("stage",))
        for stage, count in counts.items():
            counter.add_metric((stage,), count)
        return counter

    def _histogram(self, what: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        name = f"gpu_vitals_stage_{what}_seconds"
        return Histogram(name, about, ("stage",), buckets=buckets, registry=self._registry)
