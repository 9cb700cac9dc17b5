"""The log on a real Kafka keeps the contract of every log."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create
from pipeline.kits import check_log
from pipeline.log import Entry, Fenced, Unavailable
from schemas import topics
from schemas.log import Checkpoint, Output, Part
from scripts.kafka_broker import tool

T = TypeVar("T")
PART = Part("node", topics.OBSERVATIONS)


class Both(KafkaLog):
    """Log and ingress in one, as the kit wants it."""

    def __init__(self, kafka: Kafka) -> None:
        super().__init__(kafka, linger_s=0.01)
        self._ingress = KafkaIngress(kafka, linger_ms=0)
        self.append = self._ingress.append

    async def close(self) -> None:
        await self._ingress.close()
        await super().close()


async def keep_old_times(kafka: Kafka) -> None:
    """The kit says when its records were appended, and that was long ago."""
    admin = AIOKafkaAdminClient(**kafka.client())
    await admin.start()
    configs = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
    names = [kafka.topic(topic) for topic in (topics.OBSERVATIONS, topics.RATES)]
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs) for name in names])
    await admin.close()


def test_kafka_keeps_the_contract_of_logs(unmade: Kafka) -> None:
    kafka = msgspec.structs.replace(unmade, partitions=1)

    async def run() -> None:
        await create(kafka)
        await keep_old_times(kafka)

        async def make() -> Both:
            return Both(kafka)

        await check_log(make)

    asyncio.run(run())


def run(kafka: Kafka, steps: Callable[[KafkaLog], Awaitable[T]], inputs: int = 10) -> T:
    """Do `steps` with a log whose input has at least that many records."""

    async def stepped() -> T:
        log, ingress = KafkaLog(kafka, linger_s=0.0), KafkaIngress(kafka)
        await ingress.append(topics.OBSERVATIONS, [Entry("", "tick", b"x", None, 0)] * inputs)
        await ingress.close()
        try:
            return await steps(log)
        finally:
            await log.close()

    return asyncio.run(stepped())


async def first_of(log: KafkaLog, topic: str, count: int) -> list[bytes]:
    found: list[bytes] = []
    async for batch in log.read(Part("reader", topic), 0):
        found += [record.value for record in batch]
        if len(found) >= count:
            return found
    raise AssertionError("a log does not end")


def output(value: bytes, offset: int) -> Output:
    now_ms = int(1000 * time.time())  # what is older than its retention may be gone at any moment
    return Output(topics.FLEET_EVENTS, "g", "condition", value, now_ms, offset, 0)


def test_who_has_lost_a_part_commits_nothing_any_more(kafka: Kafka) -> None:
    async def steps(log: KafkaLog) -> list[bytes]:
        successor = KafkaLog(kafka)
        await log.restore(PART)
        await log.commit(PART, [output(b"mine", 0)], 1)
        assert await successor.restore(PART) == (None, 1)
        with pytest.raises(Fenced):
            await log.commit(PART, [output(b"of a zombie", 1)], 2)
        await successor.commit(PART, [output(b"of the successor", 1)], 2)
        await successor.close()
        return await first_of(log, topics.FLEET_EVENTS, 2)

    assert run(kafka, steps) == [b"mine", b"of the successor"]


def test_who_meets_the_fence_between_two_topics_is_fenced_too(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    send_batch = AIOKafkaProducer.send_batch

    async def slowly(self: AIOKafkaProducer, *batch: Any, **where: Any) -> Any:
        sent = await send_batch(self, *batch, **where)
        await asyncio.wait([sent])  # as where the next topic has to be asked for: the first is refused meanwhile
        return sent

    async def steps(log: KafkaLog) -> str:
        successor = KafkaLog(kafka)
        await log.restore(PART)
        await successor.restore(PART)
        one = output(b"of a zombie", 0)
        with pytest.raises(Fenced) as fenced:
            await log.commit(PART, [one, one._replace(topic=topics.SCORES, ordinal=1)], 1)
        await successor.close()
        return str(fenced.value)

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", slowly)
    assert "not in transaction" in run(kafka, steps)


def test_a_state_of_many_megabytes_comes_back_as_it_was(kafka: Kafka) -> None:
    states = [Checkpoint(offset, random.randbytes((3 << 20) + offset)) for offset in (1, 2, 3)]

    async def steps(log: KafkaLog) -> None:
        await log.restore(PART)
        for state in states:
            await log.commit(PART, [], state.next_offset, state)
            await log.commit(PART, [], state.next_offset + 1)
            assert await log.restore(PART) == (state, state.next_offset + 1)

    run(kafka, steps)


def test_states_are_found_where_the_group_has_been_forgotten(kafka: Kafka) -> None:
    """Kafka forgets the offsets of a group that is away for a week; a GPU that was condemned stays condemned."""

    async def before(log: KafkaLog) -> None:
        await log.restore(PART)
        await log.commit(PART, [output(b"one", 0)], 1, Checkpoint(1, b"older"))
        await log.commit(PART, [output(b"two", 1)], 2, Checkpoint(2, b"newer"))
        await log.commit(PART, [output(b"three", 2)], 3)

    run(kafka, before)
    tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "--bootstrap-server",
        kafka.bootstrap,
        "--delete",
        "--group",
        kafka.group(PART.stage),
    )

    async def behind(log: KafkaLog) -> None:
        assert await log.restore(PART) == (Checkpoint(2, b"newer"), 2)
        await log.commit(PART, [output(b"three", 2)], 3)
        assert await log.restore(PART) == (Checkpoint(2, b"newer"), 3)

    run(kafka, behind)


def test_a_topic_that_was_made_anew_is_not_read_on_as_if_nothing_had_happened(kafka: Kafka) -> None:
    async def steps(log: KafkaLog) -> None:
        await log.restore(PART)
        await log.commit(PART, [], 5)
        with pytest.raises(Unavailable, match="raise `generation`"):
            await log.restore(PART)
        raised = KafkaLog(msgspec.structs.replace(kafka, generation=1))
        assert await raised.restore(PART) == (None, 0)
        await raised.close()

    run(kafka, steps, inputs=0)
