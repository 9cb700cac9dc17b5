"""Where sources put what they saw, on Kafka (`pipeline.log.Ingress`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata

from pipeline.clock import wall_ms
from pipeline.kafka import wire
from pipeline.kafka.credentials import Credentials
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry, Unavailable
from schemas import records, topics
from schemas.dead_letters import letter
from schemas.log import Record

APPEND_S = 15.0


class KafkaIngress:
    """Appends in order, each entry once, whatever the network does; open until `close`.

    A position is remembered behind its entries, not with them: after a crash in between the source reads those
    entries again. They carry the same numbers or times, by which the stages tell doubles.

    owner: whose sources they are: positions are kept by owner and source. linger_ms: how long an entry may wait for
    others to travel with. retry_backoff_ms: between two tries of a client to reach its brokers.

    Where files of certificates or passwords change, it connects anew with what is in them now, within a minute; a
    connection that has to be made for other reasons takes them at once.
    """

    def __init__(self, kafka: Kafka, owner: str = "", *, linger_ms: int = 5, retry_backoff_ms: int = 100) -> None:
        self._kafka = kafka
        self._owner = owner
        self._linger_ms = linger_ms
        self._retry_backoff_ms = retry_backoff_ms
        self._credentials = Credentials(kafka)
        self._producer: AIOKafkaProducer | None = None
        self._offsets = Offsets(kafka)
        self._committers: dict[str, AIOKafkaConsumer] = {}
        self._starting = asyncio.Lock()

    async def append(self, topic: str, entries: Sequence[Entry], source: str = "", position: str | None = None) -> None:
        try:
            async with asyncio.timeout(APPEND_S):
                producer = await self._started()
                await asyncio.gather(*[await self._send(producer, topic, entry) for entry in entries])
                if position is not None:
                    await self._remember(source, position)
        except (KafkaError, OSError) as error:
            await self.close()
            raise Unavailable(f"kafka: {str(error) or 'no answer'}") from error

    async def position(self, source: str) -> str | None:
        try:
            async with asyncio.timeout(APPEND_S):
                found = await self._offsets.committed(self._group(source), self._place())
        except (KafkaError, OSError) as error:
            await self.close()
            raise Unavailable(f"kafka: {str(error) or 'no answer'}") from error
        return found.metadata if found else None

    async def close(self) -> None:
        """Let go; harmless twice. The next append starts anew."""
        open_ = [*self._committers.values(), self._producer]
        self._committers, self._producer = {}, None
        await asyncio.gather(*(let_go(each) for each in open_ if each))
        await self._offsets.close()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer and self._credentials.changed():
            await self.close()
        async with self._starting:
            if self._producer is None:
                self._credentials = Credentials(self._kafka)
                producer = AIOKafkaProducer(
                    **self._kafka.client(),
                    enable_idempotence=True,
                    compression_type="zstd",
                    linger_ms=self._linger_ms,
                    max_batch_size=256 << 10,
                    max_request_size=topics.MESSAGE_BYTES_MAX,
                    request_timeout_ms=int(1000 * APPEND_S),
                    retry_backoff_ms=self._retry_backoff_ms,
                )
                try:
                    await producer.start()
                except BaseException:
                    await let_go(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _send(self, producer: AIOKafkaProducer, topic: str, entry: Entry) -> asyncio.Future[object]:
        try:
            sent: asyncio.Future[object] = await producer.send(
                self._kafka.topic(topic),
                entry.value or None,
                entry.key.encode(),
                entry.partition,
                timestamp_ms=entry.ts,
                headers=wire.headers(entry.kind),
            )
        except MessageSizeTooLargeError:
            return await self._send(producer, topics.DEAD_LETTER, too_large(topic, entry))
        return sent

    async def _remember(self, source: str, position: str) -> None:
        committer = self._committers.get(source)
        if committer is None:
            committer = AIOKafkaConsumer(**self._kafka.client(), group_id=self._group(source), enable_auto_commit=False)
            self._committers[source] = committer  # `close` lets go of it, started or not
            await committer.start()
            committer.assign([self._place()])
        await committer.commit({self._place(): OffsetAndMetadata(0, position)})

    def _group(self, source: str) -> str:
        return self._kafka.group(f"source.{self._owner}.{source}")

    def _place(self) -> TopicPartition:
        return TopicPartition(self._kafka.topic(topics.OBSERVATIONS), 0)


def too_large(topic: str, entry: Entry) -> Entry:
    """What is left of an entry that the log would refuse."""
    ts = wall_ms() if entry.ts is None else entry.ts
    why = f"a record of {len(entry.value)} bytes is larger than the log takes ({topics.MESSAGE_BYTES_MAX})"
    record = Record(-1, ts, entry.key, entry.kind, entry.value)
    return Entry(topic, "dead-letter", records.encode(letter(topic, record, why, node=entry.key)), entry.ts)
