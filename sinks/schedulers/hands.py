"""Makes the calls that the plan asks for: several units abreast, one call of a unit at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from sinks.schedulers.adapter import Adapter, Away, Refused
from sinks.schedulers.plan import Call, Want
from sinks.schedulers.tries import Tries

CALL_S = 130.0  # adapters have deadlines of their own; this is for what hangs in spite of them
WAIT_S = 1.0  # for calls that were just made; slower ones are waited for beside the next looks
ABREAST = 16
STOP_S = 5.0
NO_FORCE = "this scheduler cannot end what runs"

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def answered(asked: Awaitable[T]) -> T:
    """What the adapter answers. Raises Away, also where no answer comes."""
    try:
        async with asyncio.timeout(CALL_S):
            return await asked
    except TimeoutError:
        raise Away(f"no answer within {CALL_S:.0f} s") from None


class Hands:
    """enabled: act; else what would be done is logged, once. clock: seconds, never back.

    calls: how many came to what: done, away (tried again soon), refused, error (a fault of the adapter's),
    unsupported (the three in a minute), would (in a dry run).
    """

    def __init__(self, adapter: Adapter, clock: Callable[[], float], enabled: bool) -> None:
        self._adapter = adapter
        self._clock = clock
        self._enabled = enabled
        self._tries = Tries()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._abreast = asyncio.Semaphore(ABREAST)
        self._would: dict[str, Call] = {}
        self.calls: Counter[tuple[Call, str]] = Counter()

    async def act(self, calls: Mapping[str, tuple[Call, Want]]) -> list[str]:
        """Make those calls that may be made now. Returns the units that were asked for something."""
        begun = []
        for unit, (call, want) in calls.items():
            if not self._enabled:
                self._say_only(unit, call, want)
            elif unit not in self._running and self._tries.may(unit, call, self._clock()):
                self._running[unit] = asyncio.create_task(self._do(unit, call, want))
                begun.append(unit)
        if begun:
            await asyncio.wait([self._running[unit] for unit in begun], timeout=WAIT_S)
        done = [unit for unit, task in self._running.items() if task.done()]
        for unit in done:
            self._running.pop(unit).result()
        return done

    def at_rest(self, unit: str) -> None:
        """Nothing is to be done with it: what was tried before counts no more."""
        self._tries.forget(unit)
        self._would.pop(unit, None)

    def is_busy(self, units: Collection[str]) -> bool:
        """Whether a call of one of them is under way."""
        return any(unit in self._running for unit in units)

    def trouble(self, unit: str) -> str:
        """Why the last call came to nothing; empty: it did not."""
        return self._tries.words(unit)

    async def close(self) -> None:
        """Calls under way get a few seconds: what became of one that is cancelled only the next look tells."""
        running = [*self._running.values()]
        if running:
            await asyncio.wait(running, timeout=STOP_S)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._running.clear()

    async def _do(self, unit: str, call: Call, want: Want) -> None:
        """One call, and what came of it: never an exception, whatever the adapter raises."""
        name = self._adapter.name
        if call is Call.FORCE and not self._adapter.capabilities.force:
            self._refused(unit, call, NO_FORCE, "unsupported")
            return
        try:
            async with self._abreast:
                await answered(self._made(unit, call, want.note))
        except Away as reason:
            self.calls[call, "away"] += 1
            if self._tries.away(unit, call, self._clock(), str(reason)):
                logger.warning("%s: %s %s waits: %s", name, call, unit, reason)
        except Refused as reason:
            self._refused(unit, call, str(reason), "refused")
        except Exception as reason:
            logger.debug("%s: %s %s", name, call, unit, exc_info=True)
            self._refused(unit, call, f"{type(reason).__name__}: {reason}", "error")
        else:
            self.calls[call, "done"] += 1
            if self._tries.done(unit, call, self._clock()):
                logger.info("%s: %s %s (%s)", name, call, unit, want.note)

    def _made(self, unit: str, call: Call, note: str) -> Awaitable[None]:
        if call is Call.ADD:
            return self._adapter.add(unit)
        if call is Call.DRAIN:
            return self._adapter.drain(unit, note)
        return self._adapter.force(unit, note) if call is Call.FORCE else self._adapter.remove(unit, note)

    def _refused(self, unit: str, call: Call, why: str, result: str) -> None:
        self.calls[call, result] += 1
        if self._tries.refused(unit, call, self._clock(), why):
            logger.error("%s: %s %s is not done: %s", self._adapter.name, call, unit, why)

    def _say_only(self, unit: str, call: Call, want: Want) -> None:
        if self._would.get(unit) is not call:
            self._would[unit] = call
            self.calls[call, "would"] += 1
            logger.info("%s: would %s %s (%s)", self._adapter.name, call, unit, want.note)
