"""Source `dcgm`: all that a host engine can tell of its node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from producers.blocking import Blocking
from producers.dcgm.check import findings as findings
from producers.dcgm.engine import Address
from producers.dcgm.inventory import Place, Survey
from producers.dcgm.policy import Policies
from producers.dcgm.sample import Freshness
from producers.dcgm.session import Reading, Session
from producers.dcgm.telling import Telling
from producers.dcgm.troubles import Trouble, troubles
from producers.dcgm.values import GPU, Entity
from producers.driver import boot_id, driver_load
from producers.host import hostname
from producers.sampling import PUBLISH_S, Sampler
from producers.source import Observed, Source, SourceError
from producers.watched import WATCHED
from schemas.records import Gpu
from schemas.sources import HUNG

T = TypeVar("T")

OPEN_S, CALL_S, CLOSE_S = 7.0, 5.0, 2.0  # opening closes first: together below deadline_s, which would say less
WAIT_S = 1.0
CHECK_S = 10.0  # health and links
LOOK_S = 60.0  # other GPUs, other MIG instances


def now_us() -> int:
    return time.time_ns() // 1000


class Dcgm(Source):
    """Connects to a host engine that runs already; never starts one inside this process.

    target: "" = this machine, else HOST:PORT or the path of a socket. node: None = this machine's name. A sample each
    `interval_s`; Xids, health and policies, links and inventory when there is news of them.

    The engine may hang for minutes in any call, and so may the library. Calls are made in a thread and waited for for
    `CALL_S`; after that, as after any error, everything is made anew, once the call that hangs has come back.
    A position is the newest time of which all Xids have been told.
    """

    def __init__(
        self,
        target: str = "",
        *,
        node: str | None = None,
        cluster: str = "default",
        interval_s: float = 1.0,
        publish_s: float = PUBLISH_S,
        fields: Sequence[int] = WATCHED,
    ) -> None:
        self.name = f"dcgm://{target}" if target else "dcgm"
        self._address = Address.parse(target)
        self._interval_s = interval_s
        self._fields = fields
        self._blocking = Blocking()
        self._session: Session | None = None
        self._failure: SourceError | None = None  # to be raised at the next read
        self._next_at = self._check_at = self._look_at = 0.0  # loop time
        self._outdated = False  # there are other GPUs now than those that are watched
        self._freshness = Freshness()
        # What outlasts a connection.
        self._policies = Policies()
        self._telling = Telling(self.name, node or hostname(), cluster)
        self._sampler = Sampler(node or hostname(), cluster, publish_s)

    async def open(self, after: str | None) -> None:
        await self.close()
        if self._telling.xids.from_us is None:  # else we know better than any position
            with suppress(ValueError):  # of another version
                self._telling.xids.resume(after)
        await self._connect()
        self._telling.status_is_ok()
        self._failure = None
        self._next_at = self._look_at = asyncio.get_running_loop().time()
        self._look_at += LOOK_S

    async def read(self) -> list[Observed]:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._outdated:
            await self.close()
            await self._connect()
            return []
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(min(self._next_at - clock(), WAIT_S))
        if clock() < self._next_at:
            return []
        self._next_at = max(self._next_at + self._interval_s, clock())
        try:
            return await self._round(clock())
        except SourceError as error:
            held = self._sampler.flush()
            if not held:
                raise
            self._failure = error
            return held  # what was still good goes out before the failure is told

    def position(self) -> str | None:
        return self._telling.xids.position()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        session.unwanted()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await Blocking().call(session.close)

    async def _connect(self) -> None:
        connecting_us = now_us()
        self._session = session = Session(self._address, self._fields, self._policies)
        await self._call(session.open, OPEN_S)
        self._telling.connected(connecting_us)
        self._freshness = Freshness()
        self._outdated = False
        self._check_at = 0.0

    async def _round(self, now_s: float) -> list[Observed]:
        session = self._session
        if session is None:
            raise SourceError(f"{self.name} is not open")
        checks, looks = now_s >= self._check_at, now_s >= self._look_at
        since_us, asked_us = self._telling.xids.from_us or 0, now_us()
        reading = await self._call(lambda: session.read(since_us, checks=checks, looks=looks), CALL_S)
        if checks:
            self._check_at = now_s + CHECK_S
        if looks:
            self._look_at = now_s + LOOK_S
        observed = self._observe(session, reading, asked_us, now_s)
        if reading.survey is not None:
            self._outdated = _outdated(session, reading.survey)
            if not self._outdated:
                session.survey = reading.survey
        return observed

    def _observe(self, session: Session, reading: Reading, asked_us: int, now_s: float) -> list[Observed]:
        tell, survey, ts = self._telling, session.survey, asked_us // 1000
        boot, load = (boot_id(), driver_load()) if self._address.local else ("", "")
        numbers = list(survey.gpus)
        gpus = [survey.identity(number) for number in numbers]
        columns = self._freshness.columns(reading.values, numbers, session.fields, now_s)
        inventory = tell.inventory(survey, boot=boot, driver_load=load, ts=ts)
        trouble = self._trouble(session, gpus, columns, now_s)
        observed = tell.status(trouble, ts) + inventory
        observed += tell.faults(reading, survey, asked_us)
        if reading.incidents is not None:
            observed += tell.incidents(reading.incidents, survey, ts)
        if reading.links is not None:
            observed += tell.links(reading.links, gpus, ts)
        observed += tell.violations(self._policies, survey, trouble, ts)
        return observed + (self._sampler.add(ts, gpus, columns) if columns else [])

    def _trouble(
        self, session: Session, gpus: list[Gpu], columns: dict[int, list[float | None]], now_s: float
    ) -> Trouble:
        places = {number: at for at, number in enumerate(session.survey.gpus)}
        return troubles(
            gpus,
            [all(column[at] is None for column in columns.values()) for at in range(len(gpus))],
            stopped=self._freshness.stopped(now_s),
            statuses={places[number]: status for number, status in session.survey.statuses.items()},
            gone=self._telling.gone(session.survey),
            unknown=session.unknown,
            impaired=session.impaired,
        )

    async def _call(self, function: Callable[[], T], deadline_s: float) -> T:
        try:
            async with asyncio.timeout(deadline_s):
                return await self._blocking.call(function)
        except TimeoutError:
            raise SourceError(
                f"host engine at {self._address.text}: no answer within {deadline_s:g} s; it hangs, or the driver does:"
                " see the kernel's log, and restart nvidia-dcgm",
                cause=HUNG,
            ) from None


def _outdated(session: Session, found: Survey) -> bool:
    """There are other GPUs or MIG instances than those that are watched, or some can be watched again."""
    watched = session.survey
    back = any(kind == GPU and number not in found.statuses for kind, number in session.left_out)
    return back or _identities(watched) != _identities(found)


def _identities(survey: Survey) -> list[tuple[Entity, Place]]:
    return [(entity, survey.place(entity)) for entity in survey.entities]
