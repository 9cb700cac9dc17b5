"""One consumer for all partitions that a process reads: batches for whoever reads them, one reader a partition.

Telemetry alone waits up to `linger_s` for more, as large batches cost less; anything else goes out at once, with
all that came before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from pipeline.kafka import wire
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.log import Unavailable
from schemas.counts import counted
from schemas.frames import KIND as TELEMETRY
from schemas.log import Record

IDLE_S = 1.0
POLL_S = 0.01
BATCH_RECORDS = 512  # larger ones are no cheaper to step, and commits wait for a step
GATHER_S = 0.05  # readers that come together start together: each new one makes the consumer fetch anew for all
HELD_RECORDS = 65_536  # of all partitions, before their readers must have taken some
HELD_MAX = 4_096  # of one partition
TAKEN_RECORDS = 4_096  # from the consumer at a time; it holds the rest compressed
FETCH_BYTES = 4 << 20
PARTITION_BYTES = 1 << 20

logger = logging.getLogger(__name__)


class Feed:
    """Reads with `read`; every reader has a partition of its own."""

    def __init__(self, kafka: Kafka, linger_s: float) -> None:
        self._kafka = kafka
        self._linger_s = linger_s
        self._lanes: dict[TopicPartition, _Lane] = {}
        self._changed = asyncio.Event()
        self._starting = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._pump: asyncio.Task[None] | None = None

    async def read(self, place: TopicPartition, offset: int) -> AsyncGenerator[list[Record]]:
        """Records of `place` from `offset` (or the oldest kept) on; an empty batch after a second without news.

        Raises Unavailable.
        """
        lane = self._lanes[place] = _Lane(offset)
        self._changed.set()
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name="feed")
        try:
            while True:
                try:
                    async with asyncio.timeout(IDLE_S):
                        await lane.news.wait()
                except TimeoutError:
                    yield []
                else:
                    yield lane.take()
        finally:
            if self._lanes.get(place) is lane:
                del self._lanes[place]
                self._changed.set()

    async def ends(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets behind the last records. Raises aiokafka.errors.KafkaError."""
        return dict(await (await self._started()).end_offsets(places))

    async def close(self) -> None:
        """Readers get no more."""
        if self._pump:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None
        await self._let_go()

    async def _run(self) -> None:
        while True:
            try:
                await self._pump_once()
            except OffsetOutOfRangeError as error:
                for place in error.args[0]:
                    if lane := self._lanes.get(place):
                        lane.fail(f"{place.topic}/{place.partition}: what should come next is not kept any more")
            except (KafkaError, OSError) as error:
                for lane in self._lanes.values():
                    lane.fail(f"kafka: {error}")
                await self._let_go()
                self._changed.set()
                await asyncio.sleep(IDLE_S)

    async def _pump_once(self) -> None:
        if self._changed.is_set():
            await asyncio.sleep(GATHER_S)
            self._changed.clear()
            await self._assign()
        if not self._lanes or self._consumer is None:
            await self._changed.wait()
            return
        held_max = min(HELD_MAX, max(BATCH_RECORDS, HELD_RECORDS // len(self._lanes)))
        hungry = [place for place, lane in self._lanes.items() if len(lane.records) < held_max]
        if hungry:  # not paused, the others: the consumer would throw away what it has fetched of them
            found = await self._consumer.getmany(*hungry, timeout_ms=int(1000 * POLL_S), max_records=TAKEN_RECORDS)
        else:
            found = {}
            await asyncio.sleep(POLL_S)
        now = asyncio.get_running_loop().time()
        for place, messages in found.items():
            if lane := self._lanes.get(place):
                lane.add([wire.record(message) for message in messages], now)
        for lane in self._lanes.values():
            lane.release(now, self._linger_s)
        await asyncio.sleep(0)

    async def _assign(self) -> None:
        """Read what the lanes want, each from where it is."""
        consumer = await self._started()
        begins = await consumer.beginning_offsets(list(self._lanes)) if self._lanes else {}
        lanes = {place: lane for place, lane in self._lanes.items() if place in begins}
        if len(lanes) < len(self._lanes):
            self._changed.set()  # some came while we asked
        if not lanes:
            consumer.unsubscribe()
            return
        consumer.assign(list(lanes))
        for place, lane in lanes.items():
            if 0 < lane.next_offset < begins[place]:
                lost = begins[place] - lane.next_offset
                gone = counted(lost, "record is", "records are")
                logger.error("%s/%d: %s not kept any more", place.topic, place.partition, gone)
            lane.next_offset = max(lane.next_offset, begins[place])
            consumer.seek(place, lane.next_offset)

    async def _started(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    **self._kafka.client(),
                    isolation_level="read_committed",
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    fetch_max_bytes=FETCH_BYTES,
                    max_partition_fetch_bytes=PARTITION_BYTES,
                    fetch_max_wait_ms=100,
                )
                try:
                    await consumer.start()
                except BaseException:
                    await let_go(consumer)
                    raise
                self._consumer = consumer
            return self._consumer

    async def _let_go(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer:
            await let_go(consumer)


class _Lane:
    """What has come of one partition and waits for its reader."""

    def __init__(self, offset: int) -> None:
        self.next_offset = offset
        self.records: list[Record] = []
        self.news = asyncio.Event()
        self._urgent = False
        self._since = 0.0
        self._failure = ""

    def add(self, records: list[Record], now: float) -> None:
        if not self.records:
            self._since = now
        self.records += records
        self.next_offset = records[-1].offset + 1
        self._urgent = self._urgent or any(record.kind != TELEMETRY for record in records)

    def release(self, now: float, linger_s: float) -> None:
        if self.records and (self._urgent or len(self.records) >= BATCH_RECORDS or now >= self._since + linger_s):
            self.news.set()

    def fail(self, why: str) -> None:
        self._failure = why
        self.news.set()

    def take(self) -> list[Record]:
        """Raises Unavailable."""
        if self._failure:
            raise Unavailable(self._failure)
        self.news.clear()
        if len(self.records) <= BATCH_RECORDS:
            batch, self.records = self.records, []
            self._urgent = False
        else:
            batch, self.records = self.records[:BATCH_RECORDS], self.records[BATCH_RECORDS:]
            self.news.set()
        return batch
