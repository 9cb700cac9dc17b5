"""The sink: reads the log into a view, and works beside that until both it and the ticket system say the same.

The log is the outbox. Applying a record never waits for the ticket system, so no topic falls behind while that is
away; what is to be sent is worked out from the newest records each time, however long that takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import Random
from typing import ClassVar

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from schemas import topics
from schemas.log import Record
from sinks.families import counter, gauge
from sinks.pace import Pace
from sinks.sink import Applied, Sink
from sinks.tickets.desk import Desk, Stats
from sinks.tickets.memory import Memory
from sinks.tickets.tracker import Tracker
from sinks.tickets.view import View

SETTLE_S = 1.0  # what belongs to one change comes on several topics
IDLE_S = 60.0
STOP_S = 5.0  # at the end, for what is left to send


class TicketSink(Sink, Collector):
    """enabled: what the metrics say of it; what a dry run does is up to `tracker`. Collected by any thread."""

    name = "tickets"
    topics = (
        topics.INVENTORY,
        topics.DECISIONS,
        topics.INCIDENTS,
        topics.REVALIDATIONS,
        topics.REVALIDATED,
        topics.EVICTIONS,
        topics.PREDICTIONS,
    )
    rebuilds: ClassVar[bool] = True

    def __init__(self, tracker: Tracker, memory: Memory, per_s: float = 2.0, enabled: bool = True) -> None:
        self._view = View()
        self._tracker = tracker
        self._memory = memory
        self._enabled = enabled
        self._desk = Desk(self._view, tracker, memory, time.time, Random(), Pace(per_s))
        self._applied = Applied()
        self._news = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.unreadable: Counter[str] = Counter()

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        if self._work and self._work.done():
            self._work.result()  # raises what has ended it
        for record in self._applied.fresh(topic, partition, records):
            try:
                self._view.take(topic, record)
            except ValueError:  # of a newer version
                self.unreadable[topic] += 1
        self._applied.add(topic, partition, records)
        self._news.set()

    def caught_up(self) -> None:
        self._desk.begin()
        self._work = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """What is still to be sent gets a few seconds; the rest is sent after the next start.

        A call under way is let finish: what becomes of one that is cancelled nobody would know.
        """
        self._stopping.set()
        self._news.set()
        if self._work:
            await asyncio.wait([self._work], timeout=STOP_S)
            work, self._work = self._work, None
            if not work.done():
                work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        self._memory.close()

    def stats(self) -> Stats:
        return self._desk.stats()

    async def _run(self) -> None:
        ended = False
        while True:
            wait_s = await self._desk.step()
            if wait_s == 0.0:
                continue
            if ended:
                return
            if self._stopping.is_set():
                self._desk.end()
                ended = True
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(min(IDLE_S if wait_s is None else wait_s, IDLE_S)):
                    await self._news.wait()
                    await asyncio.sleep(0.0 if self._stopping.is_set() else SETTLE_S)
            self._news.clear()

    def collect(self) -> Iterator[Metric]:
        stats = self._desk.stats()
        yield gauge(
            "gpu_vitals_tickets",
            "Tickets: open, closed (of the last 30 days), unsent (not yet as they should be), refused (left out).",
            ("state",),
            [
                (("open",), stats.open),
                (("closed",), stats.closed),
                (("unsent",), stats.unsent),
                (("refused",), stats.refused),
            ],
        )
        yield gauge(
            "gpu_vitals_tickets_outputs_to_check",
            "Open tickets that name outputs which nobody has checked again yet.",
            (),
            [((), stats.to_check)],
        )
        yield counter(
            "gpu_vitals_ticket_failures",
            "Calls that the ticket system did not take: outage (tried again), refused (not before it changes).",
            ("reason",),
            [((reason,), self._desk.failures[reason]) for reason in ("outage", "refused")],
        )
        yield gauge(
            "gpu_vitals_ticket_oldest_unsent_seconds",
            "For how long the oldest ticket has waited to be sent; 0: none does.",
            (),
            [((), stats.oldest_unsent_s)],
        )
        yield gauge(
            "gpu_vitals_tickets_enabled",
            "1 where tickets are made, 0 in a dry run, which only says what it would do.",
            (),
            [((), float(self._enabled))],
        )
