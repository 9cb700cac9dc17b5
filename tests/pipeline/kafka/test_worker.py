"""Workers on a real Kafka: who comes, who goes, and what becomes of their partitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from pipeline.kafka import reading, wire
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from pipeline.runner import UnreadableState
from pipeline.topology import STAGES
from pipeline.worker import Worker
from schemas import records, topics
from scripts.kafka_broker import Broker

NODE, CLUSTER = STAGES
WAIT_S = 60.0


@asynccontextmanager
async def working(kafka: Kafka, instance: str | None = None, stages: tuple = STAGES) -> AsyncIterator[Worker]:
    """A worker from start to its orderly end."""
    worker, stop = Worker(kafka, instance, stages), asyncio.Event()
    run = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await run


async def until(true: Callable[[], object], within_s: float = WAIT_S) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


def live(worker: Worker, count: int) -> bool:
    """It has `count` partitions, all restored."""
    return len(worker.running) == count and not worker.waiting()


async def crash(worker: Worker, run: asyncio.Task[None]) -> None:
    """As far as its group can see: silence from one moment to the next."""

    async def nothing() -> None:
        pass

    for member in worker.members.values():
        assert member._consumer
        member._consumer._coordinator._maybe_leave_group = nothing
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


def patient(kafka: Kafka) -> Kafka:
    """A session so long that no test can wait for its end."""
    return msgspec.structs.replace(kafka, session_timeout_s=600.0)


def test_a_worker_that_is_told_to_stop_hands_over_without_the_end_of_its_session(kafka: Kafka) -> None:
    async def run() -> None:
        async with working(patient(kafka), "one", (NODE,)) as staying:
            async with working(patient(kafka), "two", (NODE,)) as leaving:
                await until(lambda: live(staying, 1) and live(leaving, 1))
            await until(lambda: live(staying, 2))

    asyncio.run(run())


def test_a_named_worker_that_comes_back_disturbs_nobody(kafka: Kafka) -> None:
    async def run() -> None:
        async with working(patient(kafka), "one", (NODE,)) as other:
            lost = Worker(patient(kafka), "two", (NODE,))
            task = asyncio.create_task(lost.run(asyncio.Event()))
            await until(lambda: live(other, 1) and live(lost, 1))
            before = other.members["node"].rebalances
            await crash(lost, task)
            async with working(patient(kafka), "two", (NODE,)) as back:
                await until(lambda: live(back, 1))
                assert back.running.keys() == {NODE.part(0), NODE.part(1)} - other.running.keys()
                assert other.members["node"].rebalances == before

    asyncio.run(run())


def test_partitions_of_a_dead_worker_go_to_others(kafka: Kafka) -> None:
    async def run() -> None:
        async with working(kafka, None, (NODE,)) as staying:
            lost = Worker(kafka, None, (NODE,))
            task = asyncio.create_task(lost.run(asyncio.Event()))
            await until(lambda: live(staying, 1) and live(lost, 1))
            await crash(lost, task)
            await until(lambda: live(staying, 2))

    asyncio.run(run())


def test_a_worker_goes_on_after_the_broker_was_away(own_broker: Broker) -> None:
    from pipeline.kafka.topics import create

    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=1, session_timeout_s=3.0)

    async def run() -> None:
        await create(kafka)
        async with working(kafka) as worker:
            await until(lambda: live(worker, 2))
            stats = worker.running[CLUSTER.part(0)].stats
            await until(lambda: stats.records)
            own_broker.kill()
            await until(lambda: worker.problems())
            own_broker.start()
            await until(lambda: not worker.problems() and live(worker, 2))
            before = stats.records
            await until(lambda: stats.records > before + 1)

    asyncio.run(run())


def test_an_idle_partition_is_told_the_time_and_its_ticks_stay_with_it(kafka: Kafka) -> None:
    """Every partition needs a clock of its own: silence is noticed where nothing else is said."""

    async def run() -> None:
        async with working(kafka) as worker:
            await until(lambda: live(worker, 3))
            await until(lambda: all(worker.running[NODE.part(each)].stats.records > 1 for each in range(2)))

    asyncio.run(run())


def test_a_state_that_cannot_be_read_ends_the_worker(kafka: Kafka) -> None:
    async def run() -> str:
        from pipeline.kafka.log import KafkaLog
        from schemas.log import Checkpoint

        log = KafkaLog(kafka)
        part = CLUSTER.part(0)
        await log.restore(part)
        await log.commit(part, [], 0, Checkpoint(0, b"of another world"))
        await log.close()
        with pytest.raises(UnreadableState) as refused:
            await Worker(kafka, None, (CLUSTER,)).run(asyncio.Event())
        return str(refused.value)

    told = asyncio.run(run())
    assert "cluster/0: checkpoint at offset 0 is damaged" in told
    assert "help: go on with the release that has saved it" in told


def test_what_is_too_large_for_the_log_becomes_a_dead_letter_and_the_rest_goes_on(kafka: Kafka) -> None:
    async def run() -> list[tuple[str, bytes]]:
        ingress = KafkaIngress(kafka)
        large = Entry("n1", "telemetry", bytes(2 << 20))
        await ingress.append(
            topics.OBSERVATIONS, [Entry("n1", "tick", b"before"), large, Entry("n1", "tick", b"behind")]
        )
        await ingress.close()
        found = []
        for topic in (topics.OBSERVATIONS, topics.DEAD_LETTER):
            found += [(topic, record.value) for record in await all_records(kafka, topic)]
        return found

    found = asyncio.run(run())
    assert [value for topic, value in found if topic == topics.OBSERVATIONS] == [b"before", b"behind"]
    (letter,) = [
        msgspec.json.decode(value, type=records.DeadLetter) for topic, value in found if topic == topics.DEAD_LETTER
    ]
    assert letter.size == 2 << 20
    assert "larger than the log takes" in letter.why


async def all_records(kafka: Kafka, topic: str) -> list:
    places = (await reading.partitions(kafka, topic))[topic]
    async with reading.opened(kafka) as reader:
        spans = await reader.kept(places)
        return [wire.record(message) async for _, messages in reader.read(spans) for message in messages]
