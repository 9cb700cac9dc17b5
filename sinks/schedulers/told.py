"""Reports of how GPUs stand: each change, and a sign of life while a case is open."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from schemas.records import Serving
from sinks.schedulers.adapter import Standing
from sinks.schedulers.view import Case
from sinks.sink import SinkError

HEARTBEAT_S = 10.0
RETRY_S = 5.0  # an absent log holds up each look that reports

Report = Callable[[Sequence[Serving]], Awaitable[None]]

_Word = tuple[int, str, bool]  # what makes two reports the same: case, state, whether nothing runs

logger = logging.getLogger(__name__)


class _Told(NamedTuple):
    word: _Word
    at: float


class Reporter:
    """scheduler: what the reports name. report: makes them durable, all of them, or raises SinkError.

    clock: seconds, never back. now_ms: the date. unsent: why the last ones could not be made; they come again.
    """

    def __init__(self, scheduler: str, report: Report, clock: Callable[[], float], now_ms: Callable[[], int]) -> None:
        self._scheduler = scheduler
        self._report = report
        self._clock = clock
        self._now_ms = now_ms
        self._told: dict[str, _Told] = {}
        self._retry_at = 0.0
        self.unsent = ""

    async def tell(self, cases: Mapping[str, Case], found: Mapping[str, Standing]) -> None:
        """Report what is due of `found`, by key."""
        now = self._clock()
        due = [key for key, standing in found.items() if self._is_due(key, cases[key], standing, now)]
        if not due or (self.unsent and now < self._retry_at):
            return
        try:
            await self._report([self._serving(cases[key], found[key]) for key in due])
        except SinkError as reason:
            if not self.unsent:
                logger.warning("%s: cannot report: %s", self._scheduler, reason)
            self.unsent, self._retry_at = str(reason), self._clock() + RETRY_S
            return
        if self.unsent:
            logger.warning("%s: reports again", self._scheduler)
        self.unsent = ""
        for key in due:
            self._told[key] = _Told(_word(cases[key], found[key]), now)

    def forget(self, key: str) -> None:
        self._told.pop(key, None)

    def _is_due(self, key: str, case: Case, standing: Standing, now: float) -> bool:
        """Of a case that is over only how its GPU comes back."""
        told = self._told.get(key)
        if told is None:
            return case.is_open
        changed = told.word != _word(case, standing)
        return changed or (case.is_open and now - told.at >= HEARTBEAT_S)

    def _serving(self, case: Case, standing: Standing) -> Serving:
        return Serving(
            ts=self._now_ms(),
            cluster=case.cluster,
            node=case.gpu.node,
            uuid=case.gpu.uuid,
            bdf=case.gpu.bdf,
            scheduler=self._scheduler,
            state=standing.state,
            in_flight=standing.in_flight,
            case=case.opened,
            detail=standing.detail,
        )


def _word(case: Case, standing: Standing) -> _Word:
    return case.opened, standing.state, standing.in_flight == 0
