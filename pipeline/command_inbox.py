"""What a node is told to do, as its agent takes it from Kafka."""

from __future__ import annotations

import asyncio
import logging
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
from schemas import records, topics
from schemas.fencing import LIFE_MS_MAX, SKEW_MS, Refusal

SOURCE = "commands"
FETCH_MS = 5_000  # thousands of agents ask one partition: each waits there for long, and is answered at once
POLL_MS = 30_000
ANSWER_S = 10.0  # without an answer for so long, the broker is away
START_S = 30.0
AGAIN_S, AGAIN_MAX_S = 5.0, 300.0  # nothing is lost meanwhile, and a fleet shall not come back at one moment

logger = logging.getLogger(__name__)


class Desk(Protocol):
    """What answers commands: see `pipeline.node_commands.desk`."""

    async def hear(self, command: records.Command, offset: int) -> None: ...

    async def refuse(self, command: records.Command, refusal: Refusal) -> None: ...


class Passed(Protocol):
    """Remembers how far was read: all before `position` is answered, or on disk."""

    async def __call__(self, position: str) -> None: ...


class CommandInbox:
    """Reads the commands of one node, by assignment: no group is joined.

    after: what `passed` was told last, by the agent before this one; None = there was none. passed: remembers it.

    Guarantees: a node's first agent leaves alone what was there before it; from then on each command that has not
        expired reaches the desk, across outages and starts; after a crash, perhaps twice and with the same offset.
        An agent that may not read commands does all its other work.
    """

    def __init__(self, kafka: Kafka, node: str, after: str | None, passed: Passed, seed: int | None = None) -> None:
        self._node = node
        self._kafka = kafka
        self._place = TopicPartition(kafka.topic(topics.COMMANDS), 0)
        self._after = int(after) if after and after.isdecimal() else None
        self._passed = passed
        self._next: int | None = None  # the first one not answered
        self._random = Random(seed)
        self.outage = ""

    async def run(self, desk: Desk) -> None:
        """Until it is cancelled."""
        limit_s = AGAIN_S
        while True:
            try:
                await self._follow(desk)
            except (KafkaError, OSError, TimeoutError, UsageProblem) as error:
                limit_s = min(2 * limit_s, AGAIN_MAX_S) if self.outage else AGAIN_S
                self._away(error)
            await asyncio.sleep(self._random.uniform(0.0, limit_s))

    async def _follow(self, desk: Desk) -> None:
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
                if not await self._answer(consumer, desk):
                    async with asyncio.timeout(ANSWER_S):  # the client itself would knock for ever, and say nothing
                        await consumer.end_offsets([self._place])
        finally:
            await let_go(consumer)

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        if self._place.topic not in await consumer.topics():
            raise UnknownTopicOrPartitionError(f"no topic {self._place.topic}; `gpu-vitals topics create` makes it")
        consumer.assign([self._place])
        if self._next is None:
            first = await self._first(consumer)
            if self._after is None:  # else one that is started anew before its first command would be a first one again
                await self._passed(str(first))
            self._next = first
        consumer.seek(self._place, self._next)

    async def _first(self, consumer: AIOKafkaConsumer) -> int:
        """Where the agent before this one was; what is older than commands live is passed over."""
        end: int = (await consumer.end_offsets([self._place]))[self._place]
        if self._after is None:
            return end
        alive_ms = wall_ms() - LIFE_MS_MAX - SKEW_MS
        alive = (await consumer.offsets_for_times({self._place: alive_ms}))[self._place]
        return min(end, max(self._after, alive.offset if alive else end))

    async def _answer(self, consumer: AIOKafkaConsumer, desk: Desk) -> bool:
        """Whether there was anything to read."""
        try:
            fetched = await consumer.getmany(self._place, timeout_ms=POLL_MS)
        except OffsetOutOfRangeError:  # they were deleted, or the topic was made anew: what is there now is old
            self._next = self._after = None
            raise
        for message in fetched.get(self._place, []):
            if message.key == self._node.encode():
                await self._hear(message, desk)
                await self._passed(str(message.offset + 1))
            self._next = message.offset + 1
        return bool(fetched)

    async def _hear(self, message: Any, desk: Desk) -> None:
        record = wire.record(message)
        if fault := sound.fault(topics.COMMANDS, record):
            why = f"{message.topic}/{message.partition}/{message.offset} is no command: {fault}"
            nameless = records.Command(ts=message.timestamp, node=self._node, id="", action="")
            await desk.refuse(nameless, Refusal("malformed", why))
        else:
            await desk.hear(_command(record.value), message.offset)

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
