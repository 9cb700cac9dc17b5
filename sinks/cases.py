"""Cases and how far their workflow has come, counted for Prometheus. No series is one GPU's but that of evictions."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from prometheus_client.core import Metric

from schemas import records
from schemas.alerts import needs_person
from schemas.log import Record
from schemas.records import gpu_key
from schemas.states import CaseState, Step
from schemas.waits import Wait
from sinks.families import counter, gauge, histogram

# From the half second in which a scheduler is polled to the days that a part takes to come.
STEP_S = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0)
STEPS = tuple(step for step in Step if step is not Step.IN_SERVICE)
ORDERS = ("reset", "diagnose")
TIMES = ("1", "2", "3+")  # more than this no policy tries


class Standing(NamedTuple):
    """One open case. since_ms: when it came into `step`, as far as we have seen.

    people_ms: since when it has needed a person; None: it needs none.
    """

    opened: int
    step: Step
    since_ms: int
    people_ms: int | None
    deadline: int | None
    wait: Wait | None
    attempts: int
    order: str


class Lasted:
    """Seconds that cases have been in one step, by `STEP_S`."""

    def __init__(self) -> None:
        self.counts = [0] * (len(STEP_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(STEP_S, seconds)] += 1
        self.sum_s += seconds


class Seen(NamedTuple):
    """What there is to show, apart from what goes on."""

    standing: list[Standing]
    evictions: dict[tuple[str, str, str], int]
    lasted: dict[str, tuple[list[int], float]]


class Cases:
    """Takes records of `evictions`."""

    def __init__(self) -> None:
        self._open: dict[str, Standing] = {}
        self._newest: dict[str, int] = {}  # key: when its newest case was opened
        self._evictions: Counter[tuple[str, str, str]] = Counter()
        self._lasted: dict[str, Lasted] = {}

    def take(self, record: Record) -> None:
        """Raises ValueError: it cannot be read."""
        if not record.value:
            self._open.pop(record.key, None)
            return
        said = _eviction(record.value)
        key = gpu_key(said.node, said.uuid, said.bdf)
        if said.state is not CaseState.IN_SERVICE and self._newest.get(key) != said.opened:
            self._newest[key] = said.opened
            self._evictions[key, said.node, said.fault or "unknown"] += 1
        before = self._open.pop(key, None)
        if before and before.opened != said.opened:
            before = None
        now = _standing(said, before)
        if before and before.step is not now.step:
            self._lasted.setdefault(before.step, Lasted()).add(max(said.ts - before.since_ms, 0) / 1000)
        if now.step is not Step.IN_SERVICE:
            self._open[key] = now

    def seen(self) -> Seen:
        lasted = {step: (list(each.counts), each.sum_s) for step, each in self._lasted.items()}
        return Seen(list(self._open.values()), dict(self._evictions), lasted)


def _standing(said: records.Eviction, before: Standing | None) -> Standing:
    step = said.step or Step(said.state)
    return Standing(
        opened=said.opened,
        step=step,
        since_ms=before.since_ms if before and before.step is step else said.ts,
        people_ms=_people_ms(said, before),
        deadline=said.deadline,
        wait=Wait.of(said.waits),
        attempts=said.attempts,
        order=said.order.action if said.order else "",
    )


def _people_ms(said: records.Eviction, before: Standing | None) -> int | None:
    if not needs_person(said):
        return None
    return said.ts if before is None or before.people_ms is None else before.people_ms


def evicted(seen: Seen) -> Iterator[Metric]:
    yield counter(
        "dynamo_gpu_eviction",
        "Times a GPU was taken out of service.",
        ("gpu_id", "hostname", "reason"),
        seen.evictions.items(),
    )


def workflow(seen: Seen) -> Iterator[Metric]:
    cases, by_step = seen.standing, ("step",)
    alone = [case for case in cases if case.people_ms is None]
    steps, waits = Counter(case.step for case in cases), Counter(case.wait for case in cases)
    yield gauge(
        "gpu_vitals_cases", "GPUs that are out, by the step of their case.", by_step, [((s,), steps[s]) for s in STEPS]
    )
    yield gauge(
        "gpu_vitals_case_oldest_timestamp_seconds",
        "Since when the case that has been longest in a step is in it, of those that need nobody.",
        by_step,
        [((step,), ms / 1000) for step, ms in _oldest((case.step, case.since_ms) for case in alone)],
    )
    waiting = [case.people_ms for case in cases if case.people_ms is not None]
    yield gauge(
        "gpu_vitals_case_for_people_oldest_timestamp_seconds",
        "Since when the case that has needed a person for longest does; absent: none needs one.",
        (),
        [((), min(waiting) / 1000)] if waiting else [],
    )
    yield gauge(
        "gpu_vitals_case_deadline_timestamp_seconds",
        "When the case of a step that is due first goes on by itself; long past: it is stuck.",
        by_step,
        [((step,), ms / 1000) for step, ms in _oldest((case.step, case.deadline) for case in cases)],
    )
    yield gauge(
        "gpu_vitals_cases_waiting",
        "Cases whose next step waits for something, by what it is.",
        ("kind",),
        [((kind,), waits[kind]) for kind in Wait],
    )
    times = Counter(TIMES[min(case.attempts, len(TIMES)) - 1] for case in cases if case.attempts > 0)
    yield gauge(
        "gpu_vitals_cases_reset",
        "Cases whose GPU was reset for the same fault lately, by how often.",
        ("times",),
        [((each,), times[each]) for each in TIMES],
    )
    orders = Counter(case.order if case.order in ORDERS else "other" for case in cases if case.order)
    yield gauge(
        "gpu_vitals_case_orders",
        "What nodes have been asked to do and have not answered yet.",
        ("action",),
        [((action,), orders[action]) for action in (*ORDERS, "other")],
    )
    yield histogram(
        "gpu_vitals_case_step_seconds",
        "How long cases were in a step that they have left.",
        by_step,
        STEP_S,
        [((step,), *lasted) for step, lasted in sorted(seen.lasted.items())],
    )


def _oldest(times: Iterable[tuple[Step, int | None]]) -> list[tuple[Step, int]]:
    """Of each step the smallest that is there."""
    found: dict[Step, int] = {}
    for step, ms in times:
        if ms is not None:
            found[step] = min(ms, found.get(step, ms))
    return sorted(found.items())


_eviction = msgspec.json.Decoder(records.Eviction).decode
