"""States on Kafka: in pieces below the message limit, in the transaction that moves the position.

The committed offset of a stage carries, as its metadata, where the newest state lies (`Place`): finding it takes
one request, whatever else the topic holds. Two states of a partition are kept, by turns under the same keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from schemas.log import Checkpoint, Part
from schemas.topics import CHECKPOINTS, MESSAGE_BYTES_MAX

PIECE_BYTES = MESSAGE_BYTES_MAX - 4096  # leaves room for key, headers and the batch
SLOTS = 2
READ_S = 20.0
OF = "of"  # header of a piece: next offset of its state / number of its pieces
RESHARDING = "resharding to "  # begins metadata that is no place: see `pipeline.kafka.reshard`


class Place(NamedTuple):
    """Where a state lies: its first piece, how many there are, what it covers, under which of the two names."""

    offset: int
    pieces: int
    next_offset: int
    slot: int

    def encode(self) -> str:
        return "/".join(map(str, self))

    @classmethod
    def parse(cls, metadata: str | None) -> Place | None:
        """None: there is no state yet. Raises ValueError for what no version of ours has written, or a mark."""
        if metadata and metadata.startswith(RESHARDING):
            raise ValueError("`gpu-vitals topics reshard` was begun and has not ended: run it again")
        return cls(*map(int, metadata.split("/"))) if metadata else None


class Piece(NamedTuple):
    """One message of the checkpoints topic."""

    key: bytes
    value: bytes
    header: tuple[str, bytes]


def topic_partition(kafka: Kafka, part: Part) -> TopicPartition:
    return TopicPartition(kafka.topic(CHECKPOINTS), part.partition)


def pieces(kafka: Kafka, part: Part, checkpoint: Checkpoint, slot: int) -> Iterator[Piece]:
    """`checkpoint` as messages, in order."""
    data = memoryview(checkpoint.data)
    count = max(1, -(-len(data) // PIECE_BYTES))
    header = OF, f"{checkpoint.next_offset}/{count}".encode()
    for number in range(count):
        key = _prefix(kafka, part) + f"{slot}/{number}".encode()
        yield Piece(key, bytes(data[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]), header)


async def read(kafka: Kafka, part: Part, place: Place) -> Checkpoint:
    """The state at `place`. Raises ValueError when it is not there (any more), aiokafka.errors.KafkaError."""
    mine = _prefix(kafka, part) + f"{place.slot}/".encode()
    found: list[bytes] = []
    async for message in _messages(kafka, part, place.offset):
        if message.key.startswith(mine) and _of(message) == (place.next_offset, place.pieces):
            found.append(message.value)
            if len(found) == place.pieces:
                return Checkpoint(place.next_offset, b"".join(found))
    raise ValueError(f"{part.stage}/{part.partition}: no checkpoint at offset {place.offset} of {CHECKPOINTS}")


async def newest(kafka: Kafka, part: Part, not_after: int | None = None) -> tuple[Checkpoint, Place] | None:
    """The newest whole state that the topic holds (and that covers no more than `not_after`): reads all of it.

    For when the group's offsets are lost, and for replays. Raises aiokafka.errors.KafkaError.
    """
    prefix = _prefix(kafka, part)
    states: dict[tuple[int, int], list[ConsumerRecord[bytes, bytes]]] = {}
    best: tuple[Checkpoint, Place] | None = None
    async for message in _messages(kafka, part, 0):
        if not message.key.startswith(prefix):
            continue
        slot, number = map(int, message.key[len(prefix) :].split(b"/"))
        next_offset, count = _of(message)
        state = states.setdefault((slot, next_offset), [])
        if number == 0:
            state.clear()  # the same state was saved again
        state.append(message)
        wanted = not_after is None or next_offset <= not_after
        if len(state) == count and wanted and (best is None or next_offset >= best[0].next_offset):
            checkpoint = Checkpoint(next_offset, b"".join(each.value for each in state))
            best = checkpoint, Place(state[0].offset, count, next_offset, slot)
    return best


async def _messages(kafka: Kafka, part: Part, offset: int) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
    """Committed messages of the part's partition, from `offset` to its present end."""
    place = topic_partition(kafka, part)
    async with _consumer(kafka) as consumer, asyncio.timeout(READ_S):
        consumer.assign([place])
        ends = await consumer.end_offsets([place])
        begins = await consumer.beginning_offsets([place])
        consumer.seek(place, max(offset, begins[place]))
        while await consumer.position(place) < ends[place]:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    yield message


@asynccontextmanager
async def _consumer(kafka: Kafka) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **kafka.client(), isolation_level="read_committed", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await let_go(consumer)


def _prefix(kafka: Kafka, part: Part) -> bytes:
    return f"{kafka.generation}/{part.stage}/{part.partition}/".encode()


def _of(message: ConsumerRecord[bytes, bytes]) -> tuple[int, int]:
    next_offset, _, count = dict(message.headers)[OF].partition(b"/")
    return int(next_offset), int(count)
