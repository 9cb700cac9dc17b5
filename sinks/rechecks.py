"""Which outputs were to be checked again, and what has been answered: folded from the two topics that say so."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from schemas import topics
from schemas.log import Record
from schemas.records import Revalidated, Revalidation
from schemas.revalidations import answers

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


_asked = msgspec.json.Decoder(Revalidation).decode
_answer = msgspec.json.Decoder(Revalidated).decode
