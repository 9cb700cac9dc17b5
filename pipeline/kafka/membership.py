"""Which partitions of a stage are ours: membership in its consumer group, and nothing else.

Records are read elsewhere (`pipeline.kafka.feed`), so that tasks go on while the group makes up its mind; whoever
gets a partition fences the one who had it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from pipeline.topology import Stage

POLL_MS = 500
AGAIN_S = 1.0
HEARTBEAT_S = 0.5  # within that time all members hear that somebody has come or gone

logger = logging.getLogger(__name__)


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """instance: the member's lasting name, unique among those that run: one that comes back within the session
    gets its partitions again, without a rebalance. None: it has none.
    """

    def __init__(self, kafka: Kafka, stage: Stage, instance: str | None) -> None:
        self._kafka = kafka
        self._stage = stage
        self._instance = instance
        self._assignments: asyncio.Queue[frozenset[int]] = asyncio.Queue()
        self._consumer: AIOKafkaConsumer | None = None
        self._heart: asyncio.Task[None] | None = None
        self.settled = asyncio.Event()  # the group is not making up its mind
        self.rebalances = 0
        self.outage = ""

    async def assigned(self) -> frozenset[int]:
        """What is ours from now on, each time that it changes; an outage is told once and waited out."""
        if self._heart is None:
            self._heart = asyncio.create_task(self._belong(), name=f"group {self._stage.name}")
        return await self._assignments.get()

    def partitions(self) -> int:
        """How many the stage's input has, as of the newest assignment."""
        known = self._consumer and self._consumer.partitions_for_topic(self._kafka.topic(self._stage.input))
        return len(known or ())

    async def leave(self) -> None:
        """Others get our partitions at once. A member with a lasting name would keep them until its session ends."""
        if self._heart:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        consumer, self._consumer = self._consumer, None
        if consumer and consumer._coordinator:
            consumer._coordinator._group_instance_id = None  # it leaves only without; there is no public way
            await let_go(consumer)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """The tasks go on until it is known who has what."""
        self.settled.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        if self._consumer:
            self._consumer.pause(*assigned)
        self.rebalances += 1
        self.settled.set()
        self._assignments.put_nowait(frozenset(place.partition for place in assigned))

    async def _belong(self) -> None:
        while True:
            try:
                self._consumer = consumer = self._member()
                await consumer.start()
                while True:
                    await consumer.getmany(timeout_ms=POLL_MS)  # nothing comes; what went wrong is raised
                    self._available()
            except (KafkaError, OSError) as error:
                if not self.outage:
                    logger.warning("group %s waits: %s", self._kafka.group(self._stage.name), error)
                self.outage = f"kafka: {error}"
            await let_go(consumer)
            await asyncio.sleep(AGAIN_S)

    def _member(self) -> AIOKafkaConsumer:
        session_ms = int(1000 * self._kafka.session_timeout_s)
        consumer = AIOKafkaConsumer(
            **self._kafka.client(),
            group_id=self._kafka.group(self._stage.name),
            group_instance_id=self._instance,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=min(int(1000 * HEARTBEAT_S), session_ms // 3),
            rebalance_timeout_ms=session_ms,
            max_poll_interval_ms=10 * session_ms,
            partition_assignment_strategy=[StickyPartitionAssignor],
        )
        consumer.subscribe([self._kafka.topic(self._stage.input)], listener=self)
        return consumer

    def _available(self) -> None:
        if self.outage:
            logger.warning("group %s goes on", self._kafka.group(self._stage.name))
            self.outage = ""
