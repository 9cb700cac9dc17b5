"""What consumer groups have committed: their offsets, with the metadata that aiokafka's consumer keeps to itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CoordinatorLoadInProgressError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from pipeline.kafka.settings import Kafka

RETRY_S = 0.1


class Offsets:
    """Asks with a connection of its own, which is made at the first question."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._admin: AIOKafkaAdminClient | None = None
        self._starting = asyncio.Lock()

    async def committed(self, group: str, place: TopicPartition) -> OffsetAndMetadata | None:
        """What `group` has committed for `place`. Raises aiokafka.errors.KafkaError.

        A coordinator that is not there yet (the first group on a new cluster, a broker that moves) is waited for.
        """
        while True:
            try:
                admin = await self._started()
                answer = await admin.list_consumer_group_offsets(group, partitions=[place])
                if place not in answer:  # the answer as a whole was an error, which aiokafka does not look at
                    raise CoordinatorLoadInProgressError
                found = answer[place]
            except KafkaError as error:
                if not error.retriable:
                    await self.close()
                    raise
                await asyncio.sleep(RETRY_S)
            else:
                return found if found.offset >= 0 else None

    async def close(self) -> None:
        """Let go; harmless twice."""
        admin, self._admin = self._admin, None
        if admin:
            with suppress(KafkaError, OSError):
                await admin.close()

    async def _started(self) -> AIOKafkaAdminClient:
        async with self._starting:
            if self._admin is None:
                admin = AIOKafkaAdminClient(**self._kafka.client())
                await admin.start()
                self._admin = admin
            return self._admin
