"""Drives a sink from Kafka: hands it the records of its topics, and remembers how far.

A view (`Sink.rebuilds`) reads its topics from the beginning, each time, without a group. Any other sink is a
group of its own: it goes on behind what it has applied, and a second process with it stands by. A view that shall be
alone (`Sink.alone`) is both: a group that notes no positions, so that whoever takes over reads all there is first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
)

from pipeline.kafka import sound, subscription, wire
from pipeline.kafka.follow_progress import Progress
from pipeline.kafka.letters import Letters
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.kafka.subscription import START_S, Missing
from schemas.log import Record
from sinks.follower_metrics import FollowerStats
from sinks.sink import Sink, SinkError

BACKOFF_S = (0.5, 15.0)
POLL_S = 0.25
WATCH_S = 1.0
CURRENT_S = 0.01
ANSWER_S = 3.0  # without an answer for so long, the broker is away
SILENT = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, OSError, TimeoutError)

logger = logging.getLogger(__name__)


class _SinkFailed(Exception):
    """The sink itself cannot go on: whatever it raised, it is no outage of Kafka."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class KafkaFollower(ConsumerRebalanceListener):  # type: ignore[misc]
    """Feeds one sink until `stop`, or until it is cancelled. group: its name among the groups of sinks.

    Guarantees: records of a partition in order, at least once, none of an aborted transaction; one that does not
        belong on its topic becomes a dead letter and the others go on. `apply` never runs twice at once. An
        outage costs one line of the log, and nothing else.
    """

    def __init__(
        self, sink: Sink, kafka: Kafka, group: str | None = None, backoff_s: tuple[float, float] = BACKOFF_S
    ) -> None:
        self._sink = sink
        self._kafka = kafka
        self._group = kafka.group(f"sink.{group or sink.name}")
        self._backoff_s = backoff_s
        self._topics = {kafka.topic(topic): topic for topic in sink.topics}
        notes = f"{self._group}.letters" if sink.alone else self._group
        self._letters = Letters(kafka, notes if sink.rebuilds else None)
        self._stopping = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None  # while connected
        self._turn = asyncio.Lock()
        self._assignments = 0
        self._progress = Progress()
        self._stats = FollowerStats(sink.name, applied=Counter(), unreadable=Counter())
        self.caught_up = False
        self.outage = ""  # of what the sink speaks to
        self.away = ""  # why Kafka does not answer

    @property
    def _is_member(self) -> bool:
        """Of a group, which says who is given what."""
        return self._sink.alone or not self._sink.rebuilds

    async def run(self) -> None:
        """Raises what the sink raises, SinkError excepted: that is tried again for ever."""
        wait_s, longest_s = self._backoff_s
        while not self._stopping.is_set():
            try:
                await self._follow()
            except _SinkFailed as failed:
                raise failed.reason from None
            except (KafkaError, OSError, TimeoutError, Missing) as reason:
                wait_s = wait_s if self.away else self._backoff_s[0]
                self._is_away(reason)
                await self._pause(wait_s)
                wait_s = min(2 * wait_s, longest_s)

    def stop(self) -> None:
        """Finish what is being applied, note it, and end."""
        self._stopping.set()

    def stats(self) -> FollowerStats:
        """May be asked from any thread."""
        lag_records, lag_s = self._progress.lag_records(), self._progress.lag_s()
        return self._stats._replace(away=bool(self.away), lag_records=lag_records, lag_s=lag_s)

    async def current(self) -> None:
        """Returns once the sink has been given all that was there when this was called, by the broker's own word.

        Raises SinkError: Kafka does not answer in time.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._consumer is None:
                    raise SinkError(self.away or f"Kafka at {self._kafka.bootstrap} is not connected")
                ends = await self._consumer.end_offsets(self._consumer.assignment())
                while not self._progress.reached(ends):
                    await asyncio.sleep(CURRENT_S)
        except (KafkaError, OSError, TimeoutError) as reason:
            raise SinkError(f"Kafka at {self._kafka.bootstrap} does not answer") from reason

    async def _follow(self) -> None:
        """From the connection to the next outage that the client does not mend itself."""
        partitions = await subscription.partitions(self._kafka, self._topics)
        consumer = AIOKafkaConsumer(**subscription.options(self._kafka, self._group if self._is_member else None))
        watch: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(START_S):
                await consumer.start()
                await self._begin(consumer, partitions)
            self._is_back()
            self._consumer = consumer
            watch = asyncio.create_task(self._watch(consumer, partitions))
            while not self._stopping.is_set() and not watch.done():
                await self._read(consumer)
            if watch.done():
                watch.result()
        finally:
            self._consumer = None
            if watch is not None:
                watch.cancel()
            await let_go(consumer)
            await self._letters.close()

    async def _begin(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        if self._is_member:
            consumer.subscribe([*self._topics], listener=self)
            return
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        if self._progress.to_read is None:
            self._progress.to_read = ends
        recent_s = {self._kafka.topic(topic): age_s for topic, age_s in self._sink.recent_s.items()}
        for partition, offset in (await subscription.starts(consumer, ends, recent_s)).items():
            consumer.seek(partition, self._progress.next.setdefault(partition, offset))

    @property
    def _stands_by(self) -> bool:
        """Others have what an only reader is given."""
        return self._sink.alone and self._progress.to_read is None

    async def _take_place(self, consumer: AIOKafkaConsumer) -> None:
        """If it is ours by now: what stands there has to be read before anything is done."""
        partitions, assigned = consumer.assignment(), self._assignments
        ends = await consumer.end_offsets(partitions) if partitions else None
        if assigned == self._assignments:
            self._progress.to_read = ends

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        if self._stands_by:
            await self._take_place(consumer)
        fetched = await consumer.getmany(timeout_ms=int(1000 * POLL_S), max_records=self._sink.batch_max)
        assigned = self._assignments
        for partition, messages in fetched.items():
            if not await self._give(partition, [wire.record(message) for message in messages], assigned):
                return  # whoever has the partition now gets them again, and so do we at the next start
            if not self._sink.rebuilds:
                await self._note(consumer, partition, messages[-1].offset + 1)
        with suppress(IllegalStateError):  # it has just been given away
            for partition in consumer.assignment():
                self._progress.next[partition] = await consumer.position(partition)
        self._catch_up()
        self._measure()

    async def _give(self, partition: TopicPartition, given: Sequence[Record], assigned: int) -> bool:
        """Apply what is sound. False: not all of it, as another has the partition now or we are to stop."""
        topic = self._topics[partition.topic]
        records = []
        for record in given:
            if why := sound.fault(topic, record):
                self._count("unreadable", topic, 1)
                if await self._letters.write(topic, partition.partition, record, why):
                    self._stats = self._stats._replace(dead_letters=self._stats.dead_letters + 1)
                    logger.warning("%s/%d/%d left out: %s", topic, partition.partition, record.offset, why)
            else:
                records.append(record)
        wait_s, longest_s = self._backoff_s
        while records:
            async with self._turn:
                if assigned != self._assignments:
                    return False
                try:
                    await self._sink.apply(topic, records, partition.partition)
                    break
                except SinkError as outage:
                    self._fails(outage)
                except Exception as reason:
                    raise _SinkFailed(reason) from reason
            await self._pause(wait_s)
            wait_s = min(2 * wait_s, longest_s)
            if self._stopping.is_set():
                return False
        self._works()
        self._count("applied", topic, len(records))
        return True

    async def _note(self, consumer: AIOKafkaConsumer, partition: TopicPartition, next_offset: int) -> None:
        try:
            await consumer.commit({partition: next_offset})
        except (CommitFailedError, IllegalStateError):
            logger.debug("%s: another one has %s now", self._sink.name, partition)

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Nobody else may have them before what is being applied is."""
        self._assignments += 1
        async with self._turn:
            for partition in revoked:
                self._progress.next.pop(partition, None)
            if self._sink.alone:
                self._progress.to_read, self.caught_up = None, False
                await self._sink.let_go()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Reading goes on behind what was noted: the client does that."""

    def _catch_up(self) -> None:
        if self.caught_up or self._stands_by:
            return
        if not self._progress.reached(self._progress.to_read or {}):
            return
        self.caught_up = True
        if self._sink.rebuilds:
            logger.info("%s has read all there is", self._sink.name)
            self._sink.caught_up()

    async def _watch(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        """The client goes on by itself when a broker comes back; that one is away only a question can tell."""
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    ends = await consumer.end_offsets(partitions)
            except (KafkaError, OSError, TimeoutError) as reason:
                self._is_away(reason)
            else:
                self._is_back()
                self._progress.ends = ends
                self._measure()
            await asyncio.sleep(WATCH_S)

    def _measure(self) -> None:
        self._progress.measure(current=not self.away and (self.caught_up or self._stands_by))

    def _is_away(self, reason: Exception) -> None:
        silent = isinstance(reason, SILENT)
        why = f"Kafka at {self._kafka.bootstrap} does not answer" if silent else str(reason) or type(reason).__name__
        if not self.away:
            logger.warning("%s waits: %s", self._sink.name, why)
            logger.debug("%r", reason)
        self.away = why
        self._measure()

    def _is_back(self) -> None:
        if self.away:
            logger.warning("%s goes on: Kafka answers", self._sink.name)
        self.away = ""

    def _fails(self, outage: SinkError) -> None:
        """One line an outage, not one a try."""
        if not self.outage:
            logger.warning("%s waits: %s", self._sink.name, outage)
        self.outage = str(outage)
        self._stats = self._stats._replace(retries=self._stats.retries + 1)

    def _works(self) -> None:
        if self.outage:
            logger.warning("%s goes on", self._sink.name)
        self.outage = ""

    def _count(self, what: str, topic: str, number: int) -> None:
        counts = getattr(self._stats, what)
        self._stats = self._stats._replace(**{what: counts + Counter({topic: number})})

    async def _pause(self, wait_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
