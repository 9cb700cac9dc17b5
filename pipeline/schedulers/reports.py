"""Writes what schedulers say to the nodes' logs on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.kafka import wire
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from schemas import topics
from schemas.records import Serving, encode
from sinks.sink import SinkError

KIND = "serving"
SEND_S = 5.0  # what takes longer is said again with the next report


class KafkaReports:
    """Connects at the first report. At least once: what was in doubt is said again."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def send(self, said: Sequence[Serving]) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                producer = await self._started()
                sent = [
                    await producer.send(
                        self._kafka.topic(topics.OBSERVATIONS),
                        encode(serving),
                        serving.node.encode(),
                        headers=wire.headers(KIND),
                    )
                    for serving in said
                ]
                await asyncio.gather(*sent)
        except (KafkaError, OSError) as reason:
            await self.close()  # else what it holds would come later, behind what is newer
            raise SinkError(f"Kafka at {self._kafka.bootstrap}: {str(reason) or 'does not answer'}") from None

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer:
            await let_go(producer)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(**self._kafka.client(), acks="all", enable_idempotence=True)
            try:
                await producer.start()
            except BaseException:
                await let_go(producer)
                raise
            self._producer = producer
        return self._producer
