"""Follows the decisions on Kafka, without a group: nothing is committed, nobody is disturbed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any

from pipeline.client.said import Said, of_record
from pipeline.client.source import BACKOFF_S, Tries, Troubles
from pipeline.client.view import View
from pipeline.errors import UsageProblem
from pipeline.kafka import sound, wire
from pipeline.kafka.settings import Kafka
from schemas import topics

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, TopicPartition

POLL_S = 0.25
ASK_S = 1.0  # between questions whether there is more
ANSWER_S = 3.0
START_S = 30.0
REREAD_S = 6 * 3600.0  # without an answer; then tombstones may have gone unseen, which are kept for a day
BATCH_MAX = 2000

logger = logging.getLogger(__name__)


class KafkaSource:
    """Reads the topic `decisions` from its beginning to its end, and goes on.

    Raises UsageProblem: `kafka` cannot be used as it is.
    """

    def __init__(
        self,
        kafka: Kafka,
        backoff_s: tuple[float, float] = BACKOFF_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        kafka.client()
        self._kafka = kafka
        self._topic = kafka.topic(topics.DECISIONS)
        self._clock = clock
        self._tries = Tries(backoff_s)
        self._troubles = Troubles(f"Kafka at {kafka.bootstrap}")
        self._stopping = Event()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._unsound = 0

    @property
    def problem(self) -> str:
        return self._troubles.problem

    def run(self, view: View) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._run(view))

    def stop(self) -> None:
        self._stopping.set()
        if running := self._running:
            loop, task = running
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(task.cancel)

    async def _run(self, view: View) -> None:
        from aiokafka.errors import KafkaError

        task = asyncio.current_task()
        assert task is not None
        self._running = asyncio.get_running_loop(), task
        try:
            while not self._stopping.is_set():
                try:
                    await self._follow(view)
                except (KafkaError, OSError, TimeoutError, UsageProblem) as reason:
                    self._troubles.fails(_words(reason))
                await asyncio.sleep(self._tries.next_s())
        finally:
            self._running = None

    async def _follow(self, view: View) -> None:
        """From the connection to an outage that the client does not mend itself."""
        from aiokafka import AIOKafkaConsumer, TopicPartition

        from pipeline.kafka.letting_go import let_go

        consumer = AIOKafkaConsumer(
            **self._kafka.client(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            retry_backoff_ms=100,  # an outage is no reason to be busy
            max_partition_fetch_bytes=4 << 20,
        )
        place = TopicPartition(self._topic, 0)  # decisions are one partition: one order
        try:
            async with asyncio.timeout(START_S):
                await consumer.start()
                if self._topic not in await consumer.topics():
                    raise UsageProblem(f"there is no topic {self._topic}", "`gpu-vitals topics create` makes it")
                consumer.assign([place])
                await consumer.seek_to_beginning(place)
            await self._read_all(consumer, place, view)
            await self._go_on(consumer, place, view)
        finally:
            await let_go(consumer)

    async def _read_all(self, consumer: AIOKafkaConsumer, place: TopicPartition, view: View) -> None:
        """What is there now. Keys that nothing stands under any more are gone, though no tombstone is left."""
        asked_s, end = self._clock(), await self._end(consumer, place)
        keys: set[str] = set()
        heard_s = self._clock()
        while await consumer.position(place) < end:
            read = await self._take(consumer, view)
            keys.update(said.key for said in read)
            if read:
                heard_s = self._clock()
            elif self._clock() - heard_s > START_S:
                raise TimeoutError
        self._demand_growth(view, end)
        view.complete(keys, view.as_of._replace(generation=self._kafka.generation), asked_s)
        self._troubles.works()
        self._tries.worked()

    async def _go_on(self, consumer: AIOKafkaConsumer, place: TopicPartition, view: View) -> None:
        from aiokafka.errors import KafkaError

        asked_s = answered_s = self._clock()
        end: int | None = None  # behind all that there was when it was asked
        while self._clock() - answered_s < REREAD_S:
            await self._take(consumer, view)
            if self._clock() - asked_s >= ASK_S:
                asked_s = self._clock()
                try:
                    end = await self._end(consumer, place)
                except (KafkaError, OSError, TimeoutError) as reason:  # the client connects again by itself
                    self._troubles.fails(_words(reason))
                    end = None
                    continue
                self._demand_growth(view, end)
                answered_s = asked_s
                self._troubles.works()
            if end is not None and await consumer.position(place) >= end:
                view.confirm(self._kafka.generation, end - 1, asked_s)
                end = None

    async def _take(self, consumer: AIOKafkaConsumer, view: View) -> list[Said]:
        fetched = await consumer.getmany(timeout_ms=int(1000 * POLL_S), max_records=BATCH_MAX)
        read = [said for messages in fetched.values() for message in messages if (said := self._said(message))]
        view.take(read, self._kafka.generation)
        return read

    def _said(self, message: Any) -> Said | None:
        record = wire.record(message)
        if why := sound.fault(topics.DECISIONS, record):
            self._unsound += 1
            if self._unsound == 1:
                logger.warning("health weights: %s/%d left out: %s", self._topic, record.offset, why)
            return None
        return of_record(record)

    def _demand_growth(self, view: View, end: int) -> None:
        if view.as_of.offset >= end:
            raise UsageProblem(
                f"{self._topic} ends at {end}, before what is known of it ({view.as_of.id})",
                "a topic that was made anew needs a higher kafka.generation",
            )

    async def _end(self, consumer: AIOKafkaConsumer, place: TopicPartition) -> int:
        async with asyncio.timeout(ANSWER_S):
            ends: dict[TopicPartition, int] = await consumer.end_offsets([place])
        return ends[place]


def _words(reason: Exception) -> str:
    if isinstance(reason, TimeoutError):
        return "does not answer"
    return str(reason).replace("\n", ";") or type(reason).__name__
