"""What a node is told to do, as its agent takes it from Kafka. It knows no command yet, and says so of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.kafka import sound, wire
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from producers.host import hostname
from producers.source import Observed
from schemas import records, topics

SOURCE = "commands"
FETCH_MS = 5_000  # thousands of agents ask one partition: each waits there for long, and is answered at once
POLL_MS = 30_000
ANSWER_S = 10.0  # without an answer for so long, the broker is away
START_S = 30.0
AGAIN_S, AGAIN_MAX_S = 5.0, 300.0  # nothing is lost meanwhile, and a fleet shall not come back at one moment

logger = logging.getLogger(__name__)


class Append(Protocol):
    """Puts observations on their way, numbered."""

    async def __call__(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None: ...


class CommandInbox:
    """Reads the commands of one node, by assignment: no group is joined, and nothing is remembered.

    Guarantees: what was there before the first connection is left alone, as a command may be days old; from then on
        each command is answered once, across outages. An agent that may not read commands does all its other work.
    """

    def __init__(
        self, kafka: Kafka, node: str | None = None, cluster: str = "default", seed: int | None = None
    ) -> None:
        self._kafka = kafka
        self._node = node or hostname()
        self._cluster = cluster
        self._place = TopicPartition(kafka.topic(topics.COMMANDS), 0)
        self._next: int | None = None  # the first one not answered
        self._random = Random(seed)
        self.refused = 0
        self.outage = ""

    async def run(self, append: Append) -> None:
        """Until it is cancelled."""
        limit_s = AGAIN_S
        while True:
            try:
                await self._follow(append)
            except (KafkaError, OSError, TimeoutError, UsageProblem) as error:
                limit_s = min(2 * limit_s, AGAIN_MAX_S) if self.outage else AGAIN_S
                self._away(error)
            await asyncio.sleep(self._random.uniform(0.0, limit_s))

    async def _follow(self, append: Append) -> None:
        """From a connection to its end."""
        consumer = AIOKafkaConsumer(
            **self._kafka.client(),
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_MS,
            retry_backoff_ms=2_000,
        )
        try:
            async with asyncio.timeout(START_S):
                await consumer.start()
                await self._begin(consumer)
            self._back()
            while True:
                if not await self._answer(consumer, append):
                    async with asyncio.timeout(ANSWER_S):  # the client itself would knock for ever, and say nothing
                        await consumer.end_offsets([self._place])
        finally:
            await let_go(consumer)

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        if self._place.topic not in await consumer.topics():
            raise UnknownTopicOrPartitionError(f"no topic {self._place.topic}; `gpu-vitals topics create` makes it")
        consumer.assign([self._place])
        if self._next is None:
            self._next = (await consumer.end_offsets([self._place]))[self._place]
        consumer.seek(self._place, self._next)

    async def _answer(self, consumer: AIOKafkaConsumer, append: Append) -> bool:
        """Whether there was anything to read."""
        try:
            fetched = await consumer.getmany(self._place, timeout_ms=POLL_MS)
        except OffsetOutOfRangeError:  # they were deleted, or the topic was made anew: what is there now is old
            self._next = None
            raise
        for message in fetched.get(self._place, []):
            if message.key == self._node.encode():
                await append([self._refusal(message)], source=SOURCE, position=None)
                self.refused += 1
            self._next = message.offset + 1
        return bool(fetched)

    def _refusal(self, message: Any) -> Observed:
        record = wire.record(message)
        id_ = action = ""
        if fault := sound.fault(topics.COMMANDS, record):
            why = f"{message.topic}/{message.partition}/{message.offset} is no command: {fault}"
        else:
            command = _command(record.value)
            id_, action = command.id, command.action
            why = f"this agent knows no command {action!r}"
            if command.node != self._node:
                why = f"the command is for node {command.node!r}, and stands under the key of {self._node!r}"
        logger.warning("command %s refused: %s", id_ or "without an id", why)
        result = records.CommandResult(
            ts=wall_ms(),
            cluster=self._cluster,
            node=self._node,
            id=id_,
            action=action,
            state="refused",
            detail=why,
        )
        return Observed(self._node, "command-result", records.encode(result))

    def _away(self, error: Exception) -> None:
        """One line an outage: what sends to Kafka speaks of it too, and commands are not urgent."""
        why = error.text if isinstance(error, UsageProblem) else str(error) or type(error).__name__
        if not self.outage:
            logger.warning("commands cannot be read, all else goes on: %s", why)
        self.outage = why

    def _back(self) -> None:
        if self.outage:
            logger.warning("commands can be read again")
        self.outage = ""


_command = msgspec.json.Decoder(records.Command).decode
