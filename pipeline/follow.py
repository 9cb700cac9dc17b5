"""Drives the sinks of the embedded pipeline: hands each one the records of its topics, and remembers how far."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from pipeline.log import Unavailable
from pipeline.sqlite_log import SqliteLog
from schemas.log import Part, Record
from sinks.sink import Sink, SinkError

BACKOFF_S = (0.5, 15.0)

logger = logging.getLogger(__name__)


class Follower:
    """Feeds one sink from `log` until cancelled.

    Guarantees: records of a topic in order, at least once; a sink that does not rebuild goes on behind what it
        had applied when the process last ended, and retention waits for it. `apply` never runs twice at once.
    """

    def __init__(self, sink: Sink, log: SqliteLog, backoff_s: tuple[float, float] = BACKOFF_S) -> None:
        self._sink = sink
        self._log = log
        self._backoff_s = backoff_s
        self._turn = asyncio.Lock()
        self._next: dict[str, int] = {}
        self._to_read: dict[str, int] = {}  # where a view's topics ended when it started
        self._caught_up = False
        self.outage = ""

    async def run(self) -> None:
        """Raises what the sink raises, SinkError excepted: that is tried again for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                for topic in self._sink.topics:
                    group.create_task(self._follow(topic))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def lag(self) -> int:
        """How many records the sink has not been given yet. Raises Unavailable."""
        return sum(self._log.end_offset(topic) - self._next.get(topic, 0) for topic in self._sink.topics)

    async def _follow(self, topic: str) -> None:
        while True:
            try:
                offset = await self._start(topic)
                async for batch in self._log.read(self._part(topic), offset):
                    if batch:
                        await self._apply(topic, batch)
                        await self._applied(topic, batch[-1].offset + 1)
                return  # the log is closed
            except Unavailable as outage:
                await self._wait(outage, self._backoff_s[0])

    async def _apply(self, topic: str, batch: Sequence[Record]) -> None:
        wait_s, longest_s = self._backoff_s
        async with self._turn:
            while True:
                try:
                    await self._sink.apply(topic, batch)
                except SinkError as outage:
                    await self._wait(outage, wait_s)
                    wait_s = min(2 * wait_s, longest_s)
                else:
                    if self.outage:
                        logger.warning("%s goes on", self._sink.name)
                    self.outage = ""
                    return

    async def _wait(self, outage: Exception, wait_s: float) -> None:
        """One line an outage, not one a try."""
        if not self.outage:
            logger.warning("%s waits: %s", self._sink.name, outage)
        self.outage = str(outage)
        await asyncio.sleep(wait_s)

    async def _start(self, topic: str) -> int:
        if self._sink.rebuilds:
            self._to_read.setdefault(topic, self._log.end_offset(topic))
            self._catch_up()
            return self._next.get(topic, 0)
        position = await self._log.position(self._name(topic))
        offset = int(position) if position else 0
        self._log.hold(self._name(topic), topic, offset)
        self._next[topic] = offset
        return offset

    async def _applied(self, topic: str, next_offset: int) -> None:
        self._next[topic] = next_offset
        if not self._sink.rebuilds:
            await self._log.append(topic, [], self._name(topic), str(next_offset))
            self._log.hold(self._name(topic), topic, next_offset)
        else:
            self._catch_up()

    def _catch_up(self) -> None:
        if self._caught_up or self._to_read.keys() < set(self._sink.topics):
            return
        if all(self._next.get(topic, 0) >= end for topic, end in self._to_read.items()):
            self._caught_up = True
            self._sink.caught_up()

    def _name(self, topic: str) -> str:
        return f"sink {self._sink.name} {topic}"

    def _part(self, topic: str) -> Part:
        return Part(f"sink {self._sink.name}", topic)
