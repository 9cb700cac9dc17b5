"""The production log (`pipeline.log.Log`): positions are offsets of a consumer group, commits are transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.kafka import checkpoints
from pipeline.kafka.checkpoints import Place
from pipeline.kafka.feed import Feed
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.settings import Kafka
from pipeline.kafka.writer import Writer
from pipeline.log import Unavailable
from schemas.log import Checkpoint, Output, Part, Record

LINGER_S = 0.1
CLIENT_S = 10.0
COMMITS = 4  # at a time: each of a hundred that share the processor would outlast its transaction


class KafkaLog:
    """A `Log` on Kafka. linger_s: how long telemetry may wait for more of it to be stepped together.

    Whoever restores a part owns it from then on; the owner before gets Fenced at its next commit. `release` lets
    go of a part in order.
    """

    def __init__(self, kafka: Kafka, *, linger_s: float = LINGER_S) -> None:
        self._kafka = kafka
        self._feed = Feed(kafka, linger_s)
        self._writers: dict[Part, Writer] = {}
        self._offsets = Offsets(kafka)
        self._commits = asyncio.Semaphore(COMMITS)

    async def restore(self, part: Part) -> tuple[Checkpoint | None, int]:
        await self.release(part)
        writer = self._writers[part] = Writer(self._kafka, part)
        await writer.open()  # from here on nobody else moves the position
        try:
            async with asyncio.timeout(CLIENT_S):
                return await self._found(part, writer)
        except (KafkaError, OSError) as error:
            await self._offsets.close()
            raise Unavailable(f"kafka: {str(error) or 'no answer'}") from error

    async def read(self, part: Part, offset: int) -> AsyncGenerator[list[Record]]:
        async with aclosing(self._feed.read(self._place(part), offset)) as batches:
            async for batch in batches:
                yield batch

    async def commit(
        self, part: Part, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None = None
    ) -> None:
        async with self._commits:
            if part not in self._writers:
                raise Unavailable(f"{part.stage}/{part.partition} has not been restored")
            await self._writers[part].commit(outputs, next_offset, checkpoint)

    async def release(self, part: Part) -> None:
        """Whoever restores the part next need not wait for us. Harmless if it is not ours."""
        if writer := self._writers.pop(part, None):
            await writer.close()

    async def ends(self, parts: Sequence[Part]) -> dict[Part, int]:
        """The offset that the next record of each part's input gets. Raises Unavailable."""
        try:
            async with asyncio.timeout(CLIENT_S):
                found = await self._feed.ends([self._place(part) for part in parts])
        except (KafkaError, OSError) as error:
            raise Unavailable(f"kafka: {str(error) or 'no answer'}") from error
        return {part: found[self._place(part)] for part in parts}

    async def close(self) -> None:
        await asyncio.gather(*(self.release(part) for part in list(self._writers)))
        await self._feed.close()
        await self._offsets.close()

    async def _found(self, part: Part, writer: Writer) -> tuple[Checkpoint | None, int]:
        position = await self._offsets.committed(self._kafka.group(part.stage), self._place(part))
        if position:
            writer.committed, writer.place = position.offset, Place.parse(position.metadata)
            end = (await self._feed.ends([self._place(part)]))[self._place(part)]
            if end < position.offset:
                raise Unavailable(
                    f"{part.topic}/{part.partition} ends at {end}, but was read up to {position.offset}:"
                    " it was made anew; raise `generation` in [kafka]"
                )
            if writer.place:
                return await checkpoints.read(self._kafka, part, writer.place), position.offset
            return None, position.offset
        if saved := await checkpoints.newest(self._kafka, part):  # the group has been forgotten, the states have not
            checkpoint, writer.place = saved
            writer.committed = checkpoint.next_offset
            return checkpoint, checkpoint.next_offset
        return None, 0

    def _place(self, part: Part) -> TopicPartition:
        return TopicPartition(self._kafka.topic(part.topic), part.partition)
