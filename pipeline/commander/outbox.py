"""Commands put on Kafka, signed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.errors import UsageProblem
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.node_commands import issuing
from pipeline.node_commands.keys import PrivateKey
from schemas.commands import signed
from schemas.records import Command
from sinks.sink import SinkError

SEND_S = 3.0  # the client itself would go on trying for longer, and send late what may be taken back by then


class KafkaOutbox:
    """See `sinks.commander.sink.Outbox`. Connects when it first sends. current: asks the follower of the sink."""

    def __init__(self, kafka: Kafka, key: PrivateKey, current: Callable[[], Awaitable[None]]) -> None:
        self._kafka = kafka
        self._key = key
        self._current = current
        self._producer: AIOKafkaProducer | None = None

    async def current(self) -> None:
        await self._current()

    async def send(self, command: Command) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await issuing.put(await self._started(), self._kafka, signed(command, *self._key))
        except (KafkaError, OSError, TimeoutError, UsageProblem) as error:
            await self.close()
            why = error.text if isinstance(error, UsageProblem) else str(error) or "no answer"
            raise SinkError(f"commands cannot be put on Kafka at {self._kafka.bootstrap}: {why}") from error

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer:
            await let_go(producer)

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = issuing.producer(self._kafka)
            await self._producer.start()
        return self._producer
