"""The two stages over a world, and what they said: conditions, cases and incidents, with the truth beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from processors.cluster import ClusterTask
from processors.node import NodeTask
from processors.testing import START_MS
from producers.faults import Injected
from schemas import alerts, topics
from schemas.log import Output, Record
from schemas.records import ConditionChange, Eviction, Prediction
from schemas.states import Condition

BADNESS = {Condition.HEALTHY: 0, Condition.WARNING: 1, Condition.DEGRADED: 2, Condition.FAILED: 3}
_condition = msgspec.json.Decoder(ConditionChange).decode
_eviction = msgspec.json.Decoder(Eviction).decode
_prediction = msgspec.json.Decoder(Prediction).decode


class Seen(NamedTuple):
    """A judgement, at the append time of the record that caused it."""

    ms: int
    node: str
    uuid: str
    condition: Condition
    signals: tuple[str, ...]


class Bench:
    """Runs the stages; keeps what they judged."""

    def __init__(self) -> None:
        self.node, self.cluster = NodeTask(), ClusterTask()
        self.seen: list[Seen] = []
        self.cases: dict[tuple[str, int], Eviction] = {}  # the first word on each case
        self.predictions: list[Prediction] = []
        self.dead_letters: list[Output] = []
        self.records = 0
        self._events = 0

    def run(self, batches: Iterable[list[Record]], opened: Callable[[Eviction], None] = lambda case: None) -> None:
        """Take the records in; `opened` is told of each new case."""
        self._opened = opened
        for batch in batches:
            self.records += len(batch)
            outputs = self.node.step(batch)
            if outputs:
                self._take(outputs)

    def _take(self, outputs: list[Output]) -> None:
        events = []
        for output in outputs:
            if output.topic == topics.FLEET_EVENTS:
                events.append(Record(self._events, output.ts, output.key, output.kind, output.value))
                self._events += 1
                if output.kind == "condition":
                    self._judged(output)
            elif output.topic == topics.DEAD_LETTER:
                self.dead_letters.append(output)
            elif output.topic == topics.PREDICTIONS and output.kind != "tombstone":
                self.predictions.append(_prediction(output.value))
        for output in self.cluster.step(events):
            if output.topic == topics.EVICTIONS and output.kind == "eviction":
                eviction = _eviction(output.value)
                if (output.key, eviction.opened) not in self.cases:
                    self.cases[output.key, eviction.opened] = eviction
                    self._opened(eviction)
            elif output.topic == topics.DEAD_LETTER:
                self.dead_letters.append(output)

    def _judged(self, output: Output) -> None:
        change = _condition(output.value)
        signals = tuple(reason.signal for reason in change.reasons)
        self.seen.append(Seen(output.ts, change.node, change.uuid, change.condition, signals))

    def detected_s(self, fault: Injected) -> float | None:
        """Seconds until the fault's GPU (each GPU of its node, if all failed) was judged as badly as it should be."""
        late: dict[str, float] = {}
        for seen in self.seen:
            if seen.node != fault.node or (fault.uuid and seen.uuid != fault.uuid) or seen.ms < fault.start:
                continue
            if bad_enough(seen.condition, fault.condition):
                late.setdefault(seen.uuid, (seen.ms - fault.start) / 1000)
        return max(late.values(), default=None)

    def alerts(self) -> list[Eviction]:
        """Cases that need a person: not those that end by themselves, and one for each incident."""
        own = [case for case in self.cases.values() if alerts.needs_person(case)]
        first = {alerts.alert_id(case): case for case in reversed(own)}
        return sorted(first.values(), key=lambda case: case.opened)

    def orders(self) -> list[Prediction]:
        """Predictions that somebody has to act on."""
        return [each for each in self.predictions if alerts.orders(each.action)]


def bad_enough(condition: Condition, expected: Condition) -> bool:
    if Condition.UNKNOWN in (condition, expected):
        return condition is expected or (expected is Condition.UNKNOWN and condition is Condition.FAILED)
    return BADNESS[condition] >= BADNESS[expected]


def at(ms: int) -> str:
    """Day and time of the simulation."""
    days, rest = divmod((ms - START_MS) // 1000, 86_400)
    return f"day {days + 1} {rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
