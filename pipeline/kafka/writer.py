"""The only one who may write for a part: a transactional producer whose id is the part's.

Opening it fences whoever had the part before: nothing that the other still sends can be committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, InvalidProducerEpoch, KafkaError, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from pipeline.kafka import checkpoints, wire
from pipeline.kafka.checkpoints import SLOTS, Place
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.log import Fenced, Unavailable
from schemas.log import Checkpoint, Origin, Output, Part
from schemas.topics import MESSAGE_BYTES_MAX

OPEN_S = 15.0
COMMIT_S = 10.0
BATCH_BYTES = MESSAGE_BYTES_MAX - 4096  # before compression; those of a topic go out one after the other
PAUSE_OUTPUTS = 1_000
ONLY = 0  # the partition of a derived topic
TRANSACTION_S = 10.0  # after a death in a transaction, committed readers wait so long, or for the successor


class Writer:
    """Open from `open` to `close`. place: of the newest state, where there is one."""

    def __init__(self, kafka: Kafka, part: Part) -> None:
        self._kafka = kafka
        self._part = part
        self._group = kafka.group(part.stage)
        self._input = TopicPartition(kafka.topic(part.topic), part.partition)
        self._producer: AIOKafkaProducer | None = None
        self.committed = 0
        self.place: Place | None = None

    async def open(self) -> None:
        """Fence all others, and end what they left open. Raises Unavailable."""
        producer = AIOKafkaProducer(
            **self._kafka.client(),
            transactional_id=f"{self._group}.{self._part.partition}",
            transaction_timeout_ms=int(1000 * TRANSACTION_S),
            retry_backoff_ms=5,  # a commit asks again while the one before is being finished: that takes some ms
            compression_type="zstd",
            max_request_size=MESSAGE_BYTES_MAX,
            max_batch_size=BATCH_BYTES,
        )
        self._producer = producer
        async with self._in_our_words():
            async with asyncio.timeout(OPEN_S):
                await producer.start()

    async def commit(self, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None) -> None:
        """All of it, or nothing: see `pipeline.log.Log.commit`."""
        if next_offset < self.committed:
            raise Fenced(f"{self._part.stage}/{self._part.partition}: {next_offset} comes after {self.committed}")
        place = self.place
        async with self._in_our_words():
            async with asyncio.timeout(COMMIT_S):
                producer = self._opened()
                await producer.begin_transaction()
                if checkpoint:
                    place = await self._save(producer, checkpoint)
                batches = await self._batches(producer, outputs)
                sent = [await producer.send_batch(batch, topic, partition=ONLY) for topic, batch in batches]
                position = OffsetAndMetadata(next_offset, place.encode() if place else "")
                await producer.send_offsets_to_transaction({self._input: position}, self._group)
                await asyncio.gather(*sent)
                await producer.commit_transaction()
        self.committed, self.place = next_offset, place

    async def close(self) -> None:
        """Let go; harmless twice. What is not committed is not."""
        producer, self._producer = self._producer, None
        if producer:
            await let_go(producer)

    async def _batches(self, producer: AIOKafkaProducer, outputs: Sequence[Output]) -> list[tuple[str, BatchBuilder]]:
        """`outputs` by topic, in order: a fleet that comes up says five things of each GPU in seconds."""
        stage, _, partition = self._part
        full: list[tuple[str, BatchBuilder]] = []
        open_: dict[str, BatchBuilder] = {}
        for number, output in enumerate(outputs, 1):
            if not number % PAUSE_OUTPUTS:
                await asyncio.sleep(0)  # others commit too
            origin = Origin(stage, partition, output.offset, output.ordinal, self._kafka.generation)
            message: dict[str, Any] = {
                "timestamp": output.ts,
                "key": output.key.encode(),
                "value": output.value or None,
                "headers": wire.headers(output.kind, origin),
            }
            topic = self._kafka.topic(output.topic)
            batch = open_.get(topic) or producer.create_batch()
            if batch.append(**message) is None:
                full.append((topic, batch))
                batch = producer.create_batch()
                batch.append(**message)
            open_[topic] = batch
        return [*full, *open_.items()]

    async def _save(self, producer: AIOKafkaProducer, checkpoint: Checkpoint) -> Place:
        slot = (self.place.slot + 1) % SLOTS if self.place else 0
        topic, partition = checkpoints.topic_partition(self._kafka, self._part)
        sent = [
            await producer.send(topic, piece.value, piece.key, partition, headers=[piece.header])
            for piece in checkpoints.pieces(self._kafka, self._part, checkpoint, slot)
        ]
        first = (await asyncio.gather(*sent))[0]
        return Place(first.offset, len(sent), checkpoint.next_offset, slot)

    def _opened(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise Unavailable(f"{self._part.stage}/{self._part.partition} is closed: restore it first")
        return self._producer

    @asynccontextmanager
    async def _in_our_words(self) -> AsyncIterator[None]:
        """What goes wrong leaves the transaction in doubt: the producer is given up, `restore` opens another."""
        try:
            yield
        except (ProducerFenced, InvalidProducerEpoch, IllegalOperation) as error:
            # The last one: the sender has met the fence already, and what follows is refused as outside a transaction.
            await self.close()
            raise Fenced(f"{self._part.stage}/{self._part.partition}: {error}") from error
        except (KafkaError, OSError) as error:
            await self.close()
            raise Unavailable(f"kafka: {str(error) or 'no answer'}") from error
        except asyncio.CancelledError:
            await self.close()
            raise
