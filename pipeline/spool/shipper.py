"""From the spool to Kafka: faults first and at once, telemetry every few seconds, a backlog at a bounded pace."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from random import Random

from pipeline.errors import UsageProblem
from pipeline.log import Ingress, Unavailable
from pipeline.spool.lane import FAULTS, TELEMETRY, Batch
from pipeline.spool.pauses import CatchUp, Pauses
from pipeline.spool.spool import Spool
from schemas import topics
from schemas.counts import counted

POLL_S = 0.05
LINGER_S = 2.0  # what telemetry waits for more to travel with
BATCH_BYTES = {FAULTS: 256 << 10, TELEMETRY: 64 << 10}

logger = logging.getLogger(__name__)


class Shipper:
    """Sends what is in the spool, one request at a time, and acknowledges it there.

    Each lane keeps its order. Telemetry waits while there is a fault: what an earlier agent said of faults is
    always ahead of what a later one says. outage: why nothing can be sent now. sent: observations acknowledged.
    """

    def __init__(self, spool: Spool, log: Ingress, random: Random | None = None) -> None:
        self.outage = ""
        self.sent = 0
        self._spool = spool
        self._log = log
        self._pauses = Pauses(random or Random())

    async def run(self) -> None:
        """Never returns."""
        loop = asyncio.get_running_loop()
        catch_up = CatchUp(loop.time())
        not_before = loop.time()
        if self._spool.store.waiting:
            await asyncio.sleep(self._pauses.start_s())
        while True:
            self._spool.news.clear()
            if batch := await self._spool.peek(FAULTS, BATCH_BYTES[FAULTS]):
                await self._ship(batch)
                continue
            due = max(not_before, self._due(loop.time()))
            if loop.time() < due:
                await self._news(due)
                continue
            batch = await self._spool.peek(TELEMETRY, BATCH_BYTES[TELEMETRY])
            if batch is None:
                await self._spool.news.wait()
                continue
            sent = await self._ship(batch)
            catch_up.grown(self._spool.appended_bytes, loop.time())
            if sent and self._spool.store.lane(TELEMETRY).waiting:
                not_before = loop.time() + catch_up.pause_s(batch.size)

    async def drained(self) -> None:
        """Until there is nothing left to send."""
        while self._spool.store.waiting:
            await asyncio.sleep(POLL_S)

    def _due(self, now: float) -> float:
        """When telemetry may be sent."""
        since = self._spool.waiting_since
        return now if since is None else since + LINGER_S

    async def _news(self, due: float) -> None:
        """Until something comes, or `due`."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._spool.news.wait()

    async def _ship(self, batch: Batch) -> bool:
        """Whether it has arrived. Else, after a pause, it is time to look again what comes first."""
        try:
            await self._log.append(topics.OBSERVATIONS, batch.entries)
        except (Unavailable, UsageProblem) as outage:
            why = outage.text if isinstance(outage, UsageProblem) else str(outage)
            if not self.outage:
                logger.warning("cannot send, what is seen waits in the spool: %s", why)
            self.outage = why
            await asyncio.sleep(self._pauses.next_s())
            return False
        if self.outage:
            waiting = counted(self._spool.store.waiting, "observation waits", "observations wait")
            logger.warning("sending again; %s", waiting)
            self.outage = ""
        self._pauses.over()
        await self._spool.ack(batch)
        self.sent += len(batch.entries)
        return True
