"""More partitions for the observations, offline, with nothing lost: every node takes its state along.

A node belongs to partition murmur2(node) % n, so that growing n by a whole factor gives each new partition nodes
of exactly one old one. Old records stay where they are; new partitions begin at 0. The order of the steps is such
that it can end anywhere and simply be run again:

1. `checkpoints` grows: nobody reads its new partitions yet.
2. Each old partition's position is marked: from here on no worker takes the partition up.
3. Each new partition gets its nodes' part of the state: nobody asks for it yet.
4. `observations` grows. Only this cannot be taken back, and it takes an instant.
5. Each old partition gives up the nodes that have left it, in the transaction that removes its mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pipeline.errors import UsageProblem
from pipeline.kafka import admin, checkpoints, reading, reshard_checks, wire
from pipeline.kafka.checkpoints import RESHARDING, Place
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.reading import Span
from pipeline.kafka.settings import Kafka
from pipeline.kafka.writer import Writer
from pipeline.log import Fenced, Unavailable
from pipeline.topology import STAGES
from processors import split
from schemas.counts import counted
from schemas.log import Checkpoint, Part
from schemas.partitions import partition_of
from schemas.topics import CHECKPOINTS, MESSAGE_BYTES_MAX, OBSERVATIONS

NODE = next(stage for stage in STAGES if stage.input == OBSERVATIONS)
GROWN_S = 0.05  # between two looks for partitions that were just made


class Mark(NamedTuple):
    """Metadata of a position whose partition is being split: into how many, and where its whole state lies."""

    partitions: int
    place: Place

    def encode(self) -> str:
        return f"{RESHARDING}{self.partitions}: {self.place.encode()}"

    @classmethod
    def parse(cls, metadata: str | None) -> Mark | None:
        """None: it is no mark."""
        if not metadata or not metadata.startswith(RESHARDING):
            return None
        partitions, _, place = metadata.removeprefix(RESHARDING).partition(": ")
        found = Place.parse(place)
        assert found is not None, metadata
        return cls(int(partitions), found)


async def reshard(kafka: Kafka, partitions: int, reach: Callable[[str], object] = lambda step: None) -> int:
    """Spread the observations over `partitions`; returns how many there were. reach: told each step before it.

    Guarantees: whatever interrupts it, no worker starts with a state that holds other nodes than its partition's;
        run again, it goes on.
    Raises UsageProblem: the number does not fit, workers run, records wait to be judged, Kafka fails.
    """
    try:
        places = await reading.partitions(kafka, OBSERVATIONS, CHECKPOINTS)
        present = len(places[OBSERVATIONS])
        reshard_checks.fits(present, partitions)
        await reshard_checks.nobody_works(kafka)
        job = _Job(kafka, present, partitions, reach)
        try:
            if present < partitions:
                await job.spread(len(places[CHECKPOINTS]))
            for partition in range(partitions):
                await job.settle(partition)
        finally:
            await job.close()
    except (KafkaError, OSError, Unavailable, Fenced) as error:
        raise UsageProblem(f"kafka: {error}", "run it again: it goes on where it stopped") from None
    return present


class _Job:
    """From `present` partitions to `partitions`."""

    def __init__(self, kafka: Kafka, present: int, partitions: int, reach: Callable[[str], object]) -> None:
        self._kafka = kafka
        self._present = present
        self._partitions = partitions
        self._reach = reach
        self._group = kafka.group(NODE.name)
        self._log = KafkaLog(kafka)
        self._offsets = Offsets(kafka)

    async def close(self) -> None:
        await self._log.close()
        await self._offsets.close()

    async def spread(self, states: int) -> None:
        """Steps 1 to 4. states: partitions of the checkpoints."""
        marks = await self._marks()
        await self._nothing_waits(marks)
        if states < self._partitions:
            await self._grow(CHECKPOINTS)
        for partition in range(self._present):
            if partition not in marks and (mark := await self._mark(partition)):
                marks[partition] = mark
        for partition, mark in marks.items():
            whole = await checkpoints.read(self._kafka, NODE.part(partition), mark.place)
            for target in range(partition + self._present, self._partitions, self._present):
                self._reach(f"node/{target}: gets its nodes' state from node/{partition}")
                await self._give(whole, target)
        await self._nothing_waits(marks)
        await self._grow(OBSERVATIONS)

    async def settle(self, partition: int) -> None:
        """Step 5, for an old partition as for a new one; nothing where it is done.

        Where `observations` has not grown, this gives up what was begun.
        """
        part = NODE.part(partition)
        found = await self._committed(partition)
        mark = Mark.parse(found.metadata) if found else None
        if found and not mark:
            return
        if found and mark:
            state, place, position = await checkpoints.read(self._kafka, part, mark.place), mark.place, found.offset
        elif saved := await checkpoints.newest(self._kafka, part):
            state, place = saved
            position = state.next_offset
        else:
            return  # no record has ever come
        self._reach(f"node/{partition}: keeps the nodes that belong to it")
        own = split.keep(state, self._belongs(partition), next_offset=state.next_offset)
        writer = Writer(self._kafka, part)
        writer.committed, writer.place = position, place
        try:
            await writer.open()
            await writer.commit([], position, own)
        finally:
            await writer.close()

    # --- steps -----------------------------------------------------------------------------------------------

    async def _grow(self, topic: str) -> None:
        self._reach(f"{topic}: {counted(self._partitions, 'partition')}")
        async with admin.connected(self._kafka) as client:
            await client.create_partitions({self._kafka.topic(topic): NewPartitions(self._partitions)})
        while len((await reading.partitions(self._kafka, topic))[topic]) < self._partitions:
            await asyncio.sleep(GROWN_S)

    async def _mark(self, partition: int) -> Mark | None:
        """Save the state as it is at the position, all of it, and mark that. None: there is none."""
        part = NODE.part(partition)
        checkpoint, position = await self._log.restore(part)  # whoever still works there is fenced
        if checkpoint is None and position == 0:
            await self._log.release(part)
            return None
        self._reach(f"node/{partition}: is marked")
        await self._log.commit(part, [], position, await self._state(part, checkpoint, position))
        await self._log.release(part)
        found = await self._committed(partition)
        place = Place.parse(found.metadata if found else None)
        assert place is not None, part
        mark = Mark(self._partitions, place)
        await self._note({partition: OffsetAndMetadata(position, mark.encode())})
        return mark

    async def _state(self, part: Part, checkpoint: Checkpoint | None, position: int) -> Checkpoint:
        """`checkpoint`, brought up to `position`; what the stage says to that has been said already."""
        start = checkpoint.next_offset if checkpoint else 0
        if checkpoint and start == position:
            return checkpoint
        task = NODE.make(part.partition)
        if checkpoint:
            task.restore(checkpoint)
        async with reading.opened(self._kafka) as reader:
            place = self._place(part.partition)
            (kept,) = await reader.kept([place])
            async for _, messages in reader.read([Span(place, max(start, kept.start), position)]):
                task.step([wire.record(message) for message in messages])
        return task.checkpoint()

    async def _give(self, whole: Checkpoint, target: int) -> None:
        """Save the state of a partition that does not exist yet; so it can have no position."""
        part = NODE.part(target)
        own = split.keep(whole, self._belongs(target), next_offset=0, with_counts=False)
        topic, partition = checkpoints.topic_partition(self._kafka, part)
        async with self._producer(part) as producer, producer.transaction():
            for piece in checkpoints.pieces(self._kafka, part, own, slot=0):
                await producer.send(topic, piece.value, piece.key, partition, headers=[piece.header])

    async def _nothing_waits(self, marks: dict[int, Mark]) -> None:
        """Raises UsageProblem where records wait; then workers may run again, to judge them."""
        positions = {}
        for partition in range(self._present):
            found = await self._committed(partition)
            positions[self._place(partition)] = found.offset if found else 0
        if waiting := await reshard_checks.waiting(self._kafka, positions):
            for partition, mark in marks.items():
                position = positions[self._place(partition)]
                await self._note({partition: OffsetAndMetadata(position, mark.place.encode())})
            raise waiting

    # --- what it works with -----------------------------------------------------------------------------------

    async def _marks(self) -> dict[int, Mark]:
        """What an earlier run has marked. Raises UsageProblem if that was to make another number of partitions."""
        marks = {}
        for partition in range(self._present):
            found = await self._committed(partition)
            if mark := Mark.parse(found.metadata if found else None):
                marks[partition] = mark
                reshard_checks.goes_on(mark.partitions, self._partitions)
        return marks

    async def _note(self, positions: dict[int, OffsetAndMetadata]) -> None:
        """Commit positions by hand: the group has no members."""
        consumer = AIOKafkaConsumer(**self._kafka.client(), group_id=self._group, enable_auto_commit=False)
        await consumer.start()
        try:
            by_place = {self._place(partition): position for partition, position in positions.items()}
            consumer.assign(list(by_place))
            await consumer.commit(by_place)
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def _producer(self, part: Part) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            **self._kafka.client(),
            transactional_id=f"{self._group}.{part.partition}",
            compression_type="zstd",
            max_request_size=MESSAGE_BYTES_MAX,
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def _committed(self, partition: int) -> OffsetAndMetadata | None:
        return await self._offsets.committed(self._group, self._place(partition))

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._kafka.topic(OBSERVATIONS), partition)

    def _belongs(self, partition: int) -> Callable[[str], bool]:
        return lambda node: partition_of(node, self._partitions) == partition
