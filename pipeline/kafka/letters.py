"""Dead letters of the sinks: about records that do not belong on their topic.

A letter's key is where the record stands (topic/partition/offset). At least once: a sink that dies between a
letter and its note of it writes that letter again, under the same key.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.kafka import wire
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from schemas import topics
from schemas.dead_letters import letter
from schemas.log import Record
from schemas.records import encode
from schemas.topics import MESSAGE_BYTES_MAX


class Letters:
    """Connects at the first letter. group: that notes how far letters are written, for a sink that reads all anew.

    Every method raises aiokafka.errors.KafkaError.
    """

    def __init__(self, kafka: Kafka, group: str | None) -> None:
        self._kafka = kafka
        self._group = group
        self._producer: AIOKafkaProducer | None = None
        self._notes: AIOKafkaConsumer | None = None
        self._written: dict[TopicPartition, int] = {}  # offset behind the last record with a letter

    async def write(self, topic: str, partition: int, record: Record, why: str) -> bool:
        """After return the letter is durable. False: an earlier run of this sink has written it."""
        place = TopicPartition(self._kafka.topic(topic), partition)
        if record.offset < await self._noted(place):
            return False
        source = f"{topic}/{partition}/{record.offset}"
        producer = await self._started()
        await producer.send_and_wait(
            self._kafka.topic(topics.DEAD_LETTER),
            encode(letter(source, record, why)),
            source.encode(),
            timestamp_ms=record.ts,
            headers=wire.headers("dead-letter"),
        )
        self._written[place] = record.offset + 1
        if self._notes:
            await self._notes.commit({place: record.offset + 1})
        return True

    async def close(self) -> None:
        """Let go; harmless twice. The next letter connects again."""
        producer, notes, self._producer, self._notes = self._producer, self._notes, None, None
        for client in (producer, notes):
            if client:
                await let_go(client)

    async def _noted(self, place: TopicPartition) -> int:
        if place not in self._written:
            self._written[place] = 0
            if self._group:
                if self._notes is None:
                    self._notes = AIOKafkaConsumer(
                        **self._kafka.client(), group_id=self._group, enable_auto_commit=False
                    )
                    await self._notes.start()
                self._notes.assign([*self._written])
                self._notes.pause(*self._written)  # it notes; it does not read
                self._written[place] = await self._notes.committed(place) or 0
        return self._written[place]

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = AIOKafkaProducer(
                **self._kafka.client(), enable_idempotence=True, max_request_size=MESSAGE_BYTES_MAX
            )
            await self._producer.start()
        return self._producer
