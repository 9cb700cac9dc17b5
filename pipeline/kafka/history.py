"""What our topics on Kafka have kept: read as `tail` does it, without a group; only what was committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from pipeline.clock import wall_ms
from pipeline.history import Asked, Take
from pipeline.kafka import admin, wire
from pipeline.kafka.reading import NOT_THERE, Reader, opened
from pipeline.kafka.settings import Kafka
from schemas.topics import OBSERVATIONS

HEARD_MS = 5 * 60_000


class KafkaHistory:
    """Everything raises UsageProblem where Kafka cannot be reached."""

    def __init__(self, kafka: Kafka) -> None:
        self.where = f"Kafka at {kafka.bootstrap}, {kafka.prefix}*"
        self.heard_within = f"in the last {HEARD_MS // 60_000} minutes"
        self.forgets = True
        self.notes: list[str] = []
        self._kafka = kafka

    def span(self, topics: Sequence[str]) -> tuple[int, int] | None:
        """The newest is now."""
        oldest = asyncio.run(self._oldest(topics))
        return (oldest, max(wall_ms(), oldest)) if oldest is not None else None

    def read(self, asked: Sequence[Asked], take: Take) -> None:
        asyncio.run(self._read(asked, take))

    def heard(self, node: str) -> int | None:
        found: list[int] = []
        asked = Asked(OBSERVATIONS, wall_ms() - HEARD_MS, frozenset({node}))
        self.read([asked], lambda topic, record: found.append(record.ts))
        return max(found, default=None)

    async def _oldest(self, topics: Sequence[str]) -> int | None:
        places = await self._there(topics)
        async with opened(self._kafka) as reader:
            found = await reader.oldest_ms([place for each in places.values() for place in each])
        return min(found.values(), default=None)

    async def _read(self, asked: Sequence[Asked], take: Take) -> None:
        there = await self._there([each.topic for each in asked])
        async with opened(self._kafka) as reader:
            for each in asked:
                if each.topic in there:
                    await self._read_topic(reader, there[each.topic], each, take)

    async def _read_topic(self, reader: Reader, places: list[TopicPartition], asked: Asked, take: Take) -> None:
        kept = await reader.kept(places)
        if asked.since is not None:
            starts = await reader.first_at(kept, asked.since)
            kept = [span._replace(start=starts[span.place]) for span in kept]
        async for _, messages in reader.read(kept):
            for message in messages:
                if asked.keys is not None and (message.key or b"").decode("utf-8", "replace") not in asked.keys:
                    continue
                record = wire.record(message)
                if asked.wants(record):
                    take(asked.topic, record)

    async def _there(self, topics: Sequence[str]) -> dict[str, list[TopicPartition]]:
        """The partitions of those that the cluster has: an older deployment lacks newer ones."""
        async with admin.connected(self._kafka) as client:
            described = await client.describe_topics([self._kafka.topic(topic) for topic in topics])
        found = {each["topic"]: each for each in described}
        places = {}
        for topic in dict.fromkeys(topics):
            name = self._kafka.topic(topic)
            if name not in found or found[name]["error_code"] == NOT_THERE:
                self.notes = list(dict.fromkeys([*self.notes, f"Kafka has no topic {name}"]))
                continue
            admin.demand(found[name]["error_code"], name)
            places[topic] = [TopicPartition(name, number) for number in range(len(found[name]["partitions"]))]
        return places
