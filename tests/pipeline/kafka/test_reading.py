"""What topics hold is read by time and by offsets, up to its end, whatever transactions leave in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.kafka.reading import Span, opened, partitions
from pipeline.kafka.settings import Kafka

TOPIC = "xids"
T0 = wall_ms() - 60_000


async def write(kafka: Kafka, *texts: str, how: str = "", ts: int = T0) -> AIOKafkaProducer:
    """how: "commit", "abort" or "open" a transaction around them; "": none."""
    producer = AIOKafkaProducer(**kafka.client(), transactional_id=f"{kafka.prefix}{how}" if how else None)
    await producer.start()
    if how:
        await producer.begin_transaction()
    for text in texts:
        await producer.send_and_wait(kafka.topic(TOPIC), text.encode(), b"k", 0, ts)
    if how == "commit":
        await producer.commit_transaction()
    elif how == "abort":
        await producer.abort_transaction()
    return producer


async def texts(kafka: Kafka, *, committed: bool = True) -> list[str]:
    places = (await partitions(kafka, TOPIC))[TOPIC]
    async with opened(kafka, committed=committed) as reader:
        spans = await reader.kept(places)
        async with asyncio.timeout(60.0):
            return [each.value.decode() async for _, messages in reader.read(spans) for each in messages]


def test_reading_ends_at_the_end_whatever_stands_there(
    kafka: Kafka, settled: Callable[[Kafka, str], Awaitable[None]]
) -> None:
    async def run() -> None:
        assert await texts(kafka) == []
        await (await write(kafka, "a", "b", how="commit")).stop()
        await settled(kafka, TOPIC)
        assert await texts(kafka) == ["a", "b"]
        await (await write(kafka, "never", how="abort")).stop()
        await settled(kafka, TOPIC)
        assert await texts(kafka) == ["a", "b"]
        under_way = await write(kafka, "not yet", how="open")
        assert await texts(kafka) == ["a", "b"]
        assert await texts(kafka, committed=False) == ["a", "b", "never", "not yet"]
        await under_way.commit_transaction()
        await under_way.stop()
        await settled(kafka, TOPIC)
        assert await texts(kafka) == ["a", "b", "not yet"]

    asyncio.run(run())


def test_an_end_behind_an_open_transaction_is_waited_for(kafka: Kafka) -> None:
    async def run() -> None:
        under_way = await write(kafka, "a", how="open")
        await (await write(kafka, "b")).stop()
        places = (await partitions(kafka, TOPIC))[TOPIC]
        async with opened(kafka, committed=False) as reader:
            spans = await reader.kept(places)
        async with opened(kafka) as reader:
            batches = reader.read(spans)
            first = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0.3)
            assert not first.done(), "what comes behind it cannot be read, though it is committed"
            await under_way.commit_transaction()
            _, messages = await first
            assert [each.value for each in messages] == [b"a", b"b"]
            assert [batch async for batch in batches] == []
        await under_way.stop()

    asyncio.run(run())


def test_times_become_offsets(kafka: Kafka) -> None:
    async def run() -> None:
        for ts in (1_000, 3_000, 2_000, 5_000):
            await (await write(kafka, str(ts), ts=T0 + ts)).stop()
        (place,) = (await partitions(kafka, TOPIC))[TOPIC]
        async with opened(kafka) as reader:
            (kept,) = spans = await reader.kept([place])
            assert kept == Span(place, 0, 4)
            found = [(await reader.first_at(spans, T0 + ms))[place] for ms in (-1, 1_000, 1_001, 3_001, 5_001)]
            assert found == [0, 0, 1, 3, 4]
            assert await reader.oldest_ms([place]) == {place: T0 + 1_000}
            some = [each.value async for _, messages in reader.read([Span(place, 1, 3)]) for each in messages]
            assert some == [b"3000", b"2000"]

    asyncio.run(run())


def test_partitions_are_read_together(kafka: Kafka) -> None:
    async def run() -> None:
        places = (await partitions(kafka, "observations"))["observations"]
        assert [place.partition for place in places] == [0, 1]
        async with AIOKafkaProducer(**kafka.client()) as producer:
            for number in range(1_000):
                await producer.send(kafka.topic("observations"), b"%d" % number, None, number % 2)
        async with opened(kafka) as reader:
            found: dict[int, list[bytes]] = {0: [], 1: []}
            async for place, messages in reader.read(await reader.kept(places)):
                found[place.partition] += [each.value for each in messages]
        assert found == {at: [b"%d" % number for number in range(at, 1_000, 2)] for at in (0, 1)}

    asyncio.run(run())


def test_problems_have_one_line(unmade: Kafka) -> None:
    with pytest.raises(UsageProblem, match=f"has no topic {unmade.topic(TOPIC)}\n  help: `gpu-vitals topics create`"):
        asyncio.run(partitions(unmade, TOPIC))
    nowhere = msgspec.structs.replace(unmade, bootstrap="127.0.0.1:1")
    with pytest.raises(UsageProblem, match="kafka: no broker answers"):
        asyncio.run(partitions(nowhere, TOPIC))


def test_records_that_went_meanwhile_are_said(kafka: Kafka) -> None:
    async def run() -> None:
        async with opened(kafka) as reader:
            async for _ in reader.read([Span(TopicPartition(kafka.topic(TOPIC), 0), 5, 9)]):
                pass

    with pytest.raises(UsageProblem, match=f"{kafka.topic(TOPIC)}/0: records went while they were to be read"):
        asyncio.run(run())
