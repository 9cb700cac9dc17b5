"""Reading what topics hold, by time or by offsets: no group is joined, nothing is committed, nobody is disturbed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from pipeline.errors import UsageProblem
from pipeline.kafka import admin
from pipeline.kafka.settings import Kafka

POLL_MS = 50
ENDLESS = (1 << 63) - 1
NOT_THERE = 3  # Kafka's code for a topic that does not exist


class Span(NamedTuple):
    """Offsets of one partition, from `start` to below `end`."""

    place: TopicPartition
    start: int
    end: int


async def partitions(kafka: Kafka, *topics: str) -> dict[str, list[TopicPartition]]:
    """The partitions of our topics on the cluster. Raises UsageProblem: it cannot be reached, or lacks one."""
    async with admin.connected(kafka) as client:
        described = await client.describe_topics([kafka.topic(topic) for topic in topics])
    found = {each["topic"]: each for each in described}
    places = {}
    for topic in topics:
        name = kafka.topic(topic)
        if name not in found or found[name]["error_code"] == NOT_THERE:
            raise UsageProblem(
                f"kafka: {kafka.bootstrap} has no topic {name}",
                "`gpu-vitals topics create` makes them; --prefix names those of another fleet",
            )
        admin.demand(found[name]["error_code"], name)
        places[topic] = [TopicPartition(name, number) for number in range(len(found[name]["partitions"]))]
    return places


@asynccontextmanager
async def opened(kafka: Kafka, *, committed: bool = True) -> AsyncIterator[Reader]:
    """A reader for as long as the block runs. committed: nothing of transactions that are open or were aborted.

    Raises UsageProblem where Kafka fails, within the block too.
    """
    consumer = AIOKafkaConsumer(
        **kafka.client(),
        isolation_level="read_committed" if committed else "read_uncommitted",
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=100,
    )
    try:
        await consumer.start()
        yield Reader(consumer)
    except OffsetOutOfRangeError as error:
        gone = ", ".join(f"{place.topic}/{place.partition}" for place in error.args[0])
        raise UsageProblem(f"{gone}: records went while they were to be read", "begin later") from None
    except KafkaError as error:
        raise UsageProblem(f"kafka: {error}", f"is {kafka.bootstrap} there, and may this user read?") from None
    finally:
        await consumer.stop()


class Reader:
    """Made by `opened`. What it is asked for raises KafkaError, which `opened` translates.

    The end of a partition is that of what can be read: behind it are only open transactions.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def kept(self, places: Sequence[TopicPartition]) -> list[Span]:
        """From the oldest record that is kept to the present end."""
        starts = await self._consumer.beginning_offsets(places)
        ends = await self._consumer.end_offsets(places)
        return [Span(place, starts[place], ends[place]) for place in places]

    async def first_at(self, spans: Iterable[Span], ms: int) -> dict[TopicPartition, int]:
        """The offset of the first record from `ms` on; the span's end where there is none.

        Where times do not rise, later records may be older; no earlier one is younger.
        """
        ends = {span.place: span.end for span in spans}
        found = await self._consumer.offsets_for_times(dict.fromkeys(ends, ms))
        return {place: min(found[place].offset, end) if found[place] else end for place, end in ends.items()}

    async def oldest_ms(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The time of the first record that is kept; places without one are left out."""
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, 0))
        return {place: first.timestamp for place, first in found.items() if first}

    async def read(
        self, spans: Sequence[Span], poll_ms: int = POLL_MS
    ) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        """All messages in `spans`, in order within a partition; ends with the last of them.

        A span that ends behind what can be read now is waited for. Only one may be read at a time.
        """
        ends = {span.place: span.end for span in spans if span.start < span.end}
        self._consumer.assign(list(ends))
        for span in spans:
            if span.place in ends:
                self._consumer.seek(span.place, span.start)
        while ends:
            fetched = await self._consumer.getmany(timeout_ms=poll_ms)
            for place, messages in fetched.items():
                if place not in ends:
                    continue
                if messages[-1].offset >= ends[place]:
                    messages = [message for message in messages if message.offset < ends[place]]
                if messages:
                    yield place, messages
            for place in list(ends):
                # Behind the last record there may be others that are not for readers, but count.
                if await self._consumer.position(place) >= ends[place]:
                    self._consumer.pause(place)
                    del ends[place]
