"""Which outputs were to be checked again, and what has been answered: folded from the two topics that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from prometheus_client.core import Metric

from schemas import topics
from schemas.log import Record
from schemas.records import Revalidated, Revalidation
from schemas.revalidations import RESULTS, answers
from sinks.families import gauge

KEPT_MS = 1000 * (topics.TOPICS[topics.REVALIDATIONS].retention_s or 0)


class Recheck(NamedTuple):
    """key: of the GPU. answer: the newest one to the newest request; None: it is open."""

    key: str
    asked: Revalidation
    answer: Revalidated | None

    @property
    def state(self) -> str:
        """The answer's result, or "open"."""
        return self.answer.result if self.answer else "open"


class Rechecks:
    """Of each episode (GPU and `detected`) the newest request and the newest answer, whichever topic is read first."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int], tuple[int, Revalidation]] = {}  # with the time of its record
        self._answers: dict[tuple[str, int], Revalidated] = {}

    def take(self, topic: str, record: Record) -> None:
        """Of topic `revalidations` or `revalidated`. Raises ValueError: it cannot be read."""
        if topic == topics.REVALIDATED:
            answer = _answer(record.value)
            self._answers[record.key, answer.detected] = answer
            return
        asked = _asked(record.value)
        self._asked[record.key, asked.detected] = record.ts, asked
        self._forget(record.ts - KEPT_MS)

    def all(self) -> list[Recheck]:
        """The oldest episode first."""
        found = []
        for (key, detected), (_, asked) in self._asked.items():
            answer = self._answers.get((key, detected))
            found.append(Recheck(key, asked, answer if answer and answers(answer, asked) else None))
        return sorted(found, key=lambda each: (each.asked.detected, each.key))

    def _forget(self, before_ms: int) -> None:
        """What the topics do not keep any more, whoever reads them anew."""
        for each in [each for each, (ts, _) in self._asked.items() if ts < before_ms]:
            del self._asked[each]
            self._answers.pop(each, None)


def rechecked(found: Sequence[Recheck]) -> Iterator[Metric]:
    states = Counter(each.state for each in found)
    yield gauge(
        "gpu_vitals_revalidations",
        "Requests of the last 30 days to check outputs again: open, or what was found.",
        ("state",),
        [((state,), states[state]) for state in ("open", *RESULTS)],
    )
    open_ = [each.asked.detected for each in found if each.answer is None]
    yield gauge(
        "gpu_vitals_revalidation_oldest_open_timestamp_seconds",
        "When the corruption was detected of which the outputs have waited longest to be checked; absent: none wait.",
        (),
        [((), min(open_) / 1000)] if open_ else [],
    )


_asked = msgspec.json.Decoder(Revalidation).decode
_answer = msgspec.json.Decoder(Revalidated).decode
