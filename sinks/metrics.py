"""Prometheus metrics: the fleet's health under the specified names, the pipeline's own under `gpu_vitals_*`.

What is blank, stale or unknown has no series: never 0, never a sentinel. `gpu_id` is the UUID, or `node/BDF`
while that is unknown. CRC errors of NVLink are those of the single links; where a source knows only their
total there is no series, as a sum beside its own parts would count twice. One name breaks a rule by
specification: `dcgm_retired_pages_total` is a gauge (promtool: non-counter metrics should not have "_total" suffix).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import ClassVar

import msgspec
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from schemas import fields, frames, records, topics
from schemas.log import Record
from schemas.states import Condition
from sinks.brakes import families as brake_families
from sinks.cases import Cases, evicted, workflow
from sinks.families import Samples, counter, gauge, page
from sinks.groups import families as group_families
from sinks.held import Held, held
from sinks.known import Known
from sinks.order_results import Results, results
from sinks.own_health import StageStats, source_health, stage_health
from sinks.predictions import Predictions, foretold
from sinks.readings import Reading, Readings
from sinks.rechecks import Rechecks, rechecked
from sinks.sink import Applied, Sink

GPU = ("gpu_id", "hostname")
RECENT_S = 600.0  # of what changes all the time: more would take longer to read than it is good for


class MetricsSink(Sink, Collector):
    """Applied to by the pipeline's thread, collected by any other. stages: asked at each collection."""

    name = "metrics"
    recent_s: ClassVar[Mapping[str, float]] = {topics.OBSERVATIONS: RECENT_S, topics.FLEET_EVENTS: RECENT_S}
    topics = (
        topics.OBSERVATIONS,
        topics.SCORES,
        topics.PREDICTIONS,
        topics.DECISIONS,
        topics.EVICTIONS,
        topics.REVALIDATIONS,
        topics.REVALIDATED,
        topics.GROUPS,
        topics.BRAKES,
        topics.XIDS,
        topics.FLEET_EVENTS,
        topics.DEAD_LETTER,
    )
    rebuilds: ClassVar[bool] = True

    def __init__(self, stages: Callable[[], Iterable[StageStats]] = tuple) -> None:
        self._stages = stages
        self._lock = Lock()
        self._applied = Applied()
        self._now_ms = 0
        self._readings = Readings()
        self._groups = Known(records.GroupVerdict)
        self._brakes = Known(records.Brakes)
        self._scores: dict[str, records.Score] = {}
        self._predictions = Predictions()
        self._findings: set[tuple[str, str]] = set()  # (signal, level) seen at any time: 0 now, not absent
        self._cases = Cases()
        self._held = Held()
        self._results = Results()
        self._rechecks = Rechecks()
        self._xids: Counter[tuple[str, str]] = Counter()
        self._sources: dict[tuple[str, str], records.SourceStatus] = {}
        self._decisions = self._dead_letters = 0
        self._unreadable: Counter[str] = Counter()
        self._corrected: dict[int, dict[str, int]] = {}  # what each part of the node stage has put right so far

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        takers: dict[str, Callable[[Record], None]] = {
            topics.OBSERVATIONS: self._take_observation,
            topics.SCORES: self._take_score,
            topics.PREDICTIONS: self._predictions.take,
            topics.DECISIONS: self._take_decision,
            topics.EVICTIONS: self._cases.take,
            topics.REVALIDATIONS: partial(self._rechecks.take, topic),
            topics.REVALIDATED: partial(self._rechecks.take, topic),
            topics.GROUPS: self._groups.take,
            topics.BRAKES: self._brakes.take,
            topics.XIDS: self._take_xid,
            topics.FLEET_EVENTS: self._take_fleet_event,
            topics.DEAD_LETTER: self._take_dead_letter,
        }
        take = takers[topic]
        with self._lock:
            for record in self._applied.fresh(topic, partition, records):
                try:
                    take(record)
                except ValueError:  # bad input is a dead letter; a derived record may be of a newer version
                    self._unreadable[topic] += 1
            self._applied.add(topic, partition, records)

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return page(self)

    def _take_observation(self, record: Record) -> None:
        self._now_ms = max(self._now_ms, record.ts)
        if record.kind == frames.KIND:
            self._readings.take(record)
        elif record.kind == "source":
            status = _status(record.value)
            self._sources[status.source, status.node] = status
        elif record.kind == "command-result":
            self._results.take(record)

    def _take_score(self, record: Record) -> None:
        if not record.value:
            self._scores.pop(record.key, None)
            return
        score = _score(record.value)
        self._scores[record.key] = score
        self._findings.update((reason.signal, reason.level) for reason in score.reasons)

    def _take_decision(self, record: Record) -> None:
        self._decisions += bool(record.value)
        self._held.take(record)

    def _take_xid(self, record: Record) -> None:
        xid = _xid(record.value)
        self._xids[xid.fault, "" if xid.code is None else str(xid.code)] += 1 + xid.repeats

    def _take_fleet_event(self, record: Record) -> None:
        if record.kind == "tick" and (counts := _tick(record.value).counts):
            self._corrected[record.origin.partition if record.origin else 0] = counts

    def _take_dead_letter(self, record: Record) -> None:
        self._dead_letters += 1

    def collect(self) -> Iterator[Metric]:
        with self._lock:  # only to copy: families of a large fleet take a while to build
            readings = list(self._readings.fresh(self._now_ms))
            scores = dict(self._scores)
            predictions = self._predictions.pressing()
            findings = sorted(self._findings)
            cases, holding, rechecks = self._cases.seen(), self._held.counts(), self._rechecks.all()
            answers, xids = dict(self._results.counts), dict(self._xids)
            sources, unreadable = dict(self._sources), dict(self._unreadable)
            groups, brakes = self._groups.all, self._brakes.all
            decisions, dead_letters = self._decisions, self._dead_letters
            corrected = Counter[str]()
            for counts in self._corrected.values():
                corrected.update(counts)
        yield from _health(scores)
        yield from _telemetry(readings)
        yield from evicted(cases)
        yield from _fleet(scores, findings)
        yield from workflow(cases)
        yield from held(holding)
        yield from results(answers)
        yield from rechecked(rechecks)
        yield from foretold(predictions)
        yield from group_families(groups)
        yield from brake_families(brakes)
        yield counter("gpu_vitals_xid_events", "Xids and kin (see fault), coalesced.", ("fault", "code"), xids.items())
        yield counter("gpu_vitals_decisions", "Decisions published.", (), [((), decisions)])
        yield counter("gpu_vitals_dead_letters", "Records that could not be understood.", (), [((), dead_letters)])
        yield counter(
            "gpu_vitals_observations_corrected",
            "Observations that the node stage dropped or put right: duplicates, late ones, clocks that stepped.",
            ("kind",),
            [((kind,), count) for kind, count in corrected.items()],
        )
        yield counter(
            "gpu_vitals_metrics_unreadable",
            "Records that this page could not read.",
            ("topic",),
            [((topic,), count) for topic, count in unreadable.items()],
        )
        yield from source_health(sources)
        yield from stage_health(self._stages())


_score = msgspec.json.Decoder(records.Score).decode
_xid = msgspec.json.Decoder(records.Xid).decode
_tick = msgspec.json.Decoder(records.Tick).decode
_status = msgspec.json.Decoder(records.SourceStatus).decode


def _health(scores: dict[str, records.Score]) -> Iterator[Metric]:
    yield gauge(
        "dcgm_gpu_health_score",
        "Health, 0 (dead) to 1 (perfect): the smallest cap of all signals; absent while unknown.",
        GPU,
        (((key, score.node), score.score) for key, score in scores.items() if score.condition is not Condition.UNKNOWN),
    )


def _telemetry(readings: list[Reading]) -> Iterator[Metric]:
    def shown(field: int, *more: str) -> Samples:
        for reading in readings:
            value = reading.values.get(field)
            if value is not None:
                yield (reading.key, reading.node, *more), value

    yield counter(
        "dcgm_ecc_correctable",
        "Correctable ECC errors since the driver was loaded (DCGM field 310).",
        GPU,
        shown(fields.ECC_SBE_VOLATILE),
    )
    yield counter(
        "dcgm_ecc_uncorrectable",
        "Uncorrectable ECC errors since the driver was loaded (DCGM field 311).",
        GPU,
        shown(fields.ECC_DBE_VOLATILE),
    )
    yield gauge("dcgm_gpu_temperature_celsius", "GPU temperature (DCGM field 150).", GPU, shown(fields.GPU_TEMP))
    yield gauge(
        "dcgm_retired_pages_total",
        "Retired pages by cause: single-bit or double-bit errors (DCGM fields 390, 391).",
        (*GPU, "type"),
        [*shown(fields.RETIRED_SBE, "sbe"), *shown(fields.RETIRED_DBE, "dbe")],
    )
    yield counter(
        "dcgm_nvlink_crc_errors",
        "NVLink CRC flit errors of one link (DCGM fields 400 ff.).",
        (*GPU, "link_id"),
        (sample for link, field in enumerate(fields.NVLINK_CRC_FLIT) for sample in shown(field, str(link))),
    )


def _fleet(scores: dict[str, records.Score], findings: list[tuple[str, str]]) -> Iterator[Metric]:
    conditions = Counter(score.condition for score in scores.values())
    yield gauge(
        "gpu_vitals_gpus",
        "GPUs by condition.",
        ("condition",),
        [((condition.value,), conditions[condition]) for condition in Condition],
    )
    yield gauge(
        "gpu_vitals_gpu_condition",
        "The condition of each GPU: 1 for the one it is in.",
        (*GPU, "condition"),
        [((key, score.node, score.condition.value), 1) for key, score in scores.items()],
    )
    now = Counter((reason.signal, reason.level) for score in scores.values() for reason in score.reasons)
    yield gauge(
        "gpu_vitals_signal_gpus",
        "GPUs whose score a signal lowers now, by signal and level.",
        ("signal", "level"),
        [(finding, now[finding]) for finding in findings],
    )
