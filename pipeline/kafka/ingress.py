"""Entries put on Kafka (`pipeline.log.Ingress`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pipeline.clock import wall_ms
from pipeline.kafka import wire
from pipeline.kafka.credentials import Credentials
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry, Unavailable
from schemas import records, topics
from schemas.dead_letters import letter
from schemas.log import Record

APPEND_S = 15.0


class KafkaIngress:
    """Appends in order, each entry once, whatever the network does; open until `close`.

    linger_ms: how long an entry may wait for others to travel with. retry_backoff_ms: between two tries of a client to
    reach its brokers.

    Where files of certificates or passwords change, it connects anew with what is in them now, within a minute; a
    connection that has to be made for other reasons takes them at once.
    """

    def __init__(self, kafka: Kafka, *, linger_ms: int = 5, retry_backoff_ms: int = 100) -> None:
        self._kafka = kafka
        self._linger_ms = linger_ms
        self._retry_backoff_ms = retry_backoff_ms
        self._credentials = Credentials(kafka)
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def append(self, topic: str, entries: Sequence[Entry]) -> None:
        try:
            async with asyncio.timeout(APPEND_S):
                producer = await self._started()
                await asyncio.gather(*[await self._send(producer, topic, entry) for entry in entries])
        except (KafkaError, OSError) as error:
            await self.close()
            raise Unavailable(f"kafka: {str(error) or 'no answer'}") from error

    async def close(self) -> None:
        """Let go; harmless twice. The next append starts anew."""
        producer, self._producer = self._producer, None
        if producer:
            await let_go(producer)

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


def too_large(topic: str, entry: Entry) -> Entry:
    """What is left of an entry that the log would refuse."""
    ts = wall_ms() if entry.ts is None else entry.ts
    why = f"a record of {len(entry.value)} bytes is larger than the log takes ({topics.MESSAGE_BYTES_MAX})"
    record = Record(-1, ts, entry.key, entry.kind, entry.value)
    return Entry(topic, "dead-letter", records.encode(letter(topic, record, why, node=entry.key)), entry.ts)
