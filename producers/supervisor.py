"""Runs a source: deadlines, retries, numbers, and what there is to say of its health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from random import Random
from typing import Protocol, TypeVar

from producers.host import hostname, now_ms
from producers.numbering import Numbering
from producers.source import Ended, Observed, Source, SourceError
from schemas import records
from schemas.sources import HUNG

T = TypeVar("T")

BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0
AGAIN_S = 15.0  # from one word that a source fails to the next: who hears none takes the agent for dead
IDLE_S = 0.05  # for a source that has nothing new and does not wait itself
REMEMBER_S = 60.0
CLOSE_S = 5.0

log = logging.getLogger(__name__)


class Append(Protocol):
    """Puts observations on the log, and remembers the source's position with them, together or not at all."""

    async def __call__(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None: ...


class _Failed(Exception):
    """The source could not do what it was asked; the text says why. cause: see `SourceError`."""

    def __init__(self, why: str, cause: str = "") -> None:
        super().__init__(why)
        self.cause = cause


async def supervise(
    source: Source,
    append: Append,
    *,
    position: str | None,
    numbering: Numbering,
    node: str | None = None,
    cluster: str = "default",
    seed: int | None = None,
) -> None:
    """Read `source` from `position` on until it ends; returns then.

    node: where the health of the source is told; None = this machine. seed: of the jitter between retries.

    A source that fails, crashes or hangs is closed, and opened again behind the last position that was
    appended, after pauses that grow. Its health is appended when it changes, and while it fails now and then again.
    What `append` raises ends the supervision: nothing that was not appended is passed over.
    """
    run = _Supervision(source, append, position, numbering, node or hostname(), cluster)
    random, failures = Random(seed), 0
    try:
        while True:
            before = run.reads
            try:
                await run.until_failure()
            except Ended:
                await run.tell("ended")
                return
            except _Failed as failure:
                await run.tell("failing", str(failure), failure.cause)
            await run.close()
            failures = 1 if run.reads > before else failures + 1
            pause_s = min(BACKOFF_S * 2 ** min(failures, 16), BACKOFF_MAX_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
    finally:
        await run.close()


class _Supervision:
    def __init__(
        self,
        source: Source,
        append: Append,
        position: str | None,
        numbering: Numbering,
        node: str,
        cluster: str,
    ) -> None:
        self.reads = 0
        self._source = source
        self._append = append
        self._position = position
        self._numbering = numbering
        self._node = node
        self._cluster = cluster
        self._state = self._cause = ""
        self._told_at = 0.0
        self._ts: int | None = None  # the newest append time, where the source owns the clock
        self._remembered_at = asyncio.get_running_loop().time()

    async def until_failure(self) -> None:
        """Open, and hand on what is read. Raises Ended or _Failed."""
        await self._ask(self._source.open(self._position))
        while True:
            observed = await self._ask(self._source.read())
            self.reads += 1
            if self._source.owns_clock and observed:
                self._ts = observed[0].ts
            await self.tell("ok")
            if not observed:
                await self._remember()
                await asyncio.sleep(IDLE_S)
                continue
            position = self._source.position()
            await self._append(
                [self._numbering.stamp(one) for one in observed], source=self._source.name, position=position
            )
            self._position = position
            self._ts = observed[-1].ts

    async def _remember(self) -> None:
        """How far it has read where there was nothing to say. What it has read long ago and the outside keeps no more
        would look like a loss after a restart.
        """
        now = asyncio.get_running_loop().time()
        if now < self._remembered_at + REMEMBER_S:
            return
        position = self._source.position()
        if position is None or position == self._position:
            return
        await self._append([], source=self._source.name, position=position)
        self._position, self._remembered_at = position, now

    async def tell(self, state: str, detail: str = "", cause: str = "") -> None:
        """Append the source's state if it is another one, or one that is to be repeated."""
        now = asyncio.get_running_loop().time()
        again = state == "failing" and not self._source.owns_clock and now >= self._told_at + AGAIN_S
        if (state, cause) == (self._state, self._cause) and not again:
            return
        if self._source.owns_clock and self._ts is None:  # no time to say it at: now may be years too late
            log.log(logging.WARNING if detail else logging.DEBUG, "%s: %s %s", self._source.name, state, detail)
            return
        self._state, self._cause, self._told_at = state, cause, now
        status = records.SourceStatus(
            ts=now_ms() if self._ts is None else self._ts,
            cluster=self._cluster,
            node=self._node,
            source=self._source.name,
            state=state,
            detail=detail,
            cause=cause,
        )
        told = Observed(self._node, "source", records.encode(status), self._ts)
        await self._append([self._numbering.stamp(told)], source=self._source.name, position=self._position)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):  # `wait_for` of Python 3.11 can lose that we are told to end
                await self._source.close()
        except Exception as error:  # it has failed already, or is not needed any more
            log.debug("%s: could not be closed: %r", self._source.name, error)

    async def _ask(self, call: Awaitable[T]) -> T:
        """What the source answers within its deadline."""
        try:
            async with asyncio.timeout(self._source.deadline_s):
                return await call
        except Ended:
            raise
        except SourceError as error:
            raise _Failed(str(error), error.cause) from error
        except TimeoutError as error:
            raise _Failed(f"no answer within {self._source.deadline_s:g} s", HUNG) from error
        except Exception as error:
            log.exception("%s crashed", self._source.name)
            raise _Failed(f"crashed: {type(error).__name__}: {error}") from error
