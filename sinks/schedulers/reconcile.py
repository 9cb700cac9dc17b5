"""Brings what the scheduler does to what it should do, for as long as that takes.

Level-triggered: the log (compacted) says what is wanted, the scheduler what is. Nothing is remembered that could be
lost: an outage, or a crash at any point, is simply a time during which the two differ.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import islice
from typing import NamedTuple, TypeVar

from schemas.states import Wanted
from sinks.schedulers import plan
from sinks.schedulers.adapter import Adapter, Away, Gpu, Standing
from sinks.schedulers.hands import Hands, answered
from sinks.schedulers.plan import Call, Want
from sinks.schedulers.told import Report, Reporter
from sinks.schedulers.tries import BACKOFF_S
from sinks.schedulers.view import Case, View

FAST_S = 0.5  # while requests end, and while what is wanted and what is there differ
SLOW_S = 5.0  # while a case is open
SWEPT_AT_ONCE = 2500  # cases that are over; open ones are looked at together
SWEEP_S = 60.0  # all that ever had a case: what a call that was lost, or a scheduler's restart, has left behind

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Stats(NamedTuple):
    """out: units that shall not serve, by how they stand. unknown: GPUs with a case of which that cannot be told.

    in_flight: requests that still run on those units, as far as it can be told. away: why the scheduler cannot be
    asked, and for how long already. unsent: why nothing can be reported.
    """

    out: Mapping[str, int] = {}
    unknown: int = 0
    in_flight: int = 0
    away: str = ""
    away_s: float = 0.0
    unsent: str = ""


class Found(NamedTuple):
    """What one look has found: units of each GPU, what is wanted of them, how they stand."""

    units: Mapping[Gpu, Collection[str]]
    wanted: Mapping[str, Want]
    standings: Mapping[str, Standing]

    def of(self, case: Case) -> Collection[str]:
        return sorted(self.units.get(case.gpu, ()))

    def standing(self, unit: str) -> Standing:
        return self.standings.get(unit, _NOT_THERE)


class Reconciler:
    """report: makes reports durable, all of them, or raises SinkError. clock: seconds, never back. now_ms: the date.

    enabled: act; else what would be done is logged once, and nothing is reported. may_add: whether the view is as
    new as can be; while it is not, nothing is put back.

    Guarantees: while its scheduler answers, a unit is brought to the worst that any of its GPUs asks for; `add` is
        called only for what is ours; a unit that fails holds up no other one.
    """

    def __init__(
        self,
        view: View,
        adapter: Adapter,
        report: Report,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        enabled: bool = True,
        may_add: Callable[[], bool] = lambda: True,
    ) -> None:
        self._view = view
        self._adapter = adapter
        self._clock = clock
        self._enabled = enabled
        self._may_add = may_add
        self._reporter = Reporter(adapter.name, report, clock, now_ms)
        self._hands = Hands(adapter, clock, enabled)
        self._unsettled: dict[str, None] = {}  # cases that are over, of which something may be left
        self._sweep_at = clock()
        self._away = ""
        self._away_since: float | None = None
        self._backoff_s = BACKOFF_S[0]
        self._stats = Stats()

    @property
    def calls(self) -> Counter[tuple[Call, str]]:
        return self._hands.calls

    async def step(self) -> float:
        """Look once, do what is to be done, report. Returns the seconds after which to look again."""
        now = self._clock()
        self._unsettled |= dict.fromkeys(self._view.changed())
        if now >= self._sweep_at:
            self._unsettled |= dict.fromkeys(self._view.cases)
        known = self._view.cases
        settling = {key for key in islice(self._unsettled, SWEPT_AT_ONCE) if key in known}
        cases = {key: known[key] for key in sorted(self._view.open | settling)}
        if not cases:
            self._unsettled.clear()
            self._is_back()
            self._stats = Stats()
            return self._next_sweep(now)
        try:
            found = await self._look_and_act(cases)
        except Away as reason:
            return await self._is_away(cases, str(reason))
        self._is_back()
        return min(await self._conclude(cases, found), self._next_sweep(now))

    def stats(self) -> Stats:
        """May be asked from any thread."""
        since = self._away_since
        away_s = self._clock() - since if since is not None else 0.0
        return self._stats._replace(away=self._away, away_s=away_s, unsent=self._reporter.unsent)

    async def close(self) -> None:
        """Calls under way get a few seconds."""
        await self._hands.close()

    # --- one look ------------------------------------------------------------------------------------------------

    async def _look_and_act(self, cases: Mapping[str, Case]) -> Found:
        """Raises Away."""
        units = await self._asked(self._adapter.units([case.gpu for case in cases.values()]))
        wanted = plan.wants([*cases.values()], units)
        found = Found(units, wanted, await self._asked(self._adapter.look([*wanted])))
        calls = {}
        for unit, want in wanted.items():
            call = plan.next_call(want.wanted, found.standing(unit))
            if call is None:
                self._hands.at_rest(unit)
            elif call is not Call.ADD or self._may_add():
                calls[unit] = call, want
        asked = [unit for unit in await self._hands.act(calls) if unit in wanted]
        if not asked:
            return found
        return found._replace(standings={**found.standings, **await self._asked(self._adapter.look(asked))})

    async def _asked(self, asked: Awaitable[T]) -> T:
        """Raises Away, whatever the adapter raises: a fault of its own must not end this."""
        try:
            return await answered(asked)
        except Away:
            raise
        except Exception as reason:
            logger.debug("%s", self._adapter.name, exc_info=True)
            raise Away(f"{type(reason).__name__}: {reason}") from None

    async def _conclude(self, cases: Mapping[str, Case], found: Found) -> float:
        """Report, and find out how soon to look again."""
        gpus = {key: self._gpu(case, found) for key, case in cases.items()}
        over = {key: None for key, case in cases.items() if not case.is_open and self._is_over(case, found)}
        for key, case in cases.items():
            self._unsettled.pop(key, None)
            if not case.is_open and key not in over:
                self._unsettled[key] = None  # behind those that were not looked at yet
        if self._enabled:
            await self._reporter.tell(cases, gpus)
        for key in over:
            self._reporter.forget(key)
            if cases[key].gone and self._view.cases.get(key) is cases[key]:
                self._view.forget(key)
                self._unsettled.pop(key, None)
        self._stats = _stats(cases, gpus, found)
        if self._unsettled.keys() - cases.keys():
            return 0.0
        return min((self._wait_s(case, gpus[key], key in over) for key, case in cases.items()), default=SWEEP_S)

    def _gpu(self, case: Case, found: Found) -> Standing:
        units = found.of(case)
        standing = plan.of_gpu([found.standing(unit) for unit in units])
        words = [standing.detail, *map(self._hands.trouble, units)]
        return standing._replace(detail="; ".join(dict.fromkeys(filter(None, words))))

    def _is_over(self, case: Case, found: Found) -> bool:
        """Of a GPU that may serve: its units do, or it is not we who keep them, or another GPU of theirs does."""
        units = found.of(case)
        if self._hands.is_busy(units):
            return False
        kept = any(found.wanted[unit].wanted is not Wanted.SERVING for unit in units)
        return kept or plan.is_settled([found.standing(unit) for unit in units])

    def _wait_s(self, case: Case, standing: Standing, is_over: bool) -> float:
        if is_over:
            return SWEEP_S
        moving = plan.is_moving(case, standing) if case.is_open else not standing.detail
        return FAST_S if moving and self._enabled else SLOW_S

    # --- the scheduler as a whole --------------------------------------------------------------------------------

    async def _is_away(self, cases: Mapping[str, Case], why: str) -> float:
        if self._away_since is None:
            self._away_since = self._clock()
            logger.warning("%s is away: %s", self._adapter.name, why)
        self._away = why
        if self._enabled:
            unknown = Standing("unknown", detail=f"the scheduler cannot be asked: {why}")
            await self._reporter.tell(cases, {key: unknown for key, case in cases.items() if case.is_open})
        wait_s, self._backoff_s = self._backoff_s, min(2.0 * self._backoff_s, BACKOFF_S[1])
        return wait_s

    def _is_back(self) -> None:
        if self._away_since is not None:
            logger.warning("%s is back", self._adapter.name)
        self._away, self._away_since, self._backoff_s = "", None, BACKOFF_S[0]

    def _next_sweep(self, now: float) -> float:
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
        return self._sweep_at - now


_NOT_THERE = Standing("unknown", detail="the scheduler does not have it")


def _stats(cases: Mapping[str, Case], gpus: Mapping[str, Standing], found: Found) -> Stats:
    units = [unit for unit, want in found.wanted.items() if want.wanted is not Wanted.SERVING]
    out = [found.standing(unit) for unit in units]
    return Stats(
        out=Counter(standing.state for standing in out),
        unknown=sum(case.is_open and gpus[key].state == "unknown" for key, case in cases.items()),
        in_flight=sum(standing.in_flight or 0 for standing in out),
    )
