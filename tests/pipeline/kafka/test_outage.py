"""An hour without a broker: nothing that was seen is lost, nobody has aged, windows are those of the nodes' time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.clock import wall_ms
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create
from pipeline.log import Entry, Unavailable
from pipeline.worker import Worker
from producers.source import Observed
from schemas import frames, records, topics
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP
from schemas.records import Gpu, Score, Xid
from scripts.kafka_broker import Broker

T = TypeVar("T")

NODES = [f"n{number}" for number in range(4)]
HOUR_S = 3600
EVERY_S = 30
FAULTS_S = (100, 1000, 2000, 3500)
WAIT_S = 90.0


class Node:
    """What a node sees, second by second: one correctable error a minute, and now and then a contained one.

    All is numbered, as agents do it: what comes twice, because nobody knows whether it has arrived, counts once.
    """

    def __init__(self, name: str, start_ms: int) -> None:
        self.name, self._start_ms, self._seq, self._faults = name, start_ms, 0, 0

    def frame(self, at_s: int) -> Observed:
        return self._frame(self._start_ms + 1000 * at_s, at_s // 60)

    def alive(self) -> Observed:
        """Now, with no error more than in that hour."""
        return self._frame(wall_ms(), (HOUR_S - 1) // 60)

    def _frame(self, tick_ms: int, errors: int) -> Observed:
        self._seq += 1
        frame = frames.build(
            node=self.name,
            epoch=self._start_ms,
            seq=self._seq,
            gpus=[Gpu(uuid=f"GPU-{self.name}", bdf="0000:1b:00")],
            ticks=[tick_ms],
            columns={ECC_SBE_VOLATILE: [errors], GPU_TEMP: [50]},
        )
        return Observed(self.name, frames.KIND, frames.encode(frame))

    def fault(self, at_s: int) -> Observed:
        self._faults += 1
        fault = records.KernelFault(
            ts=self._start_ms + 1000 * at_s,
            node=self.name,
            epoch=self._start_ms,
            seq=self._faults,
            fault="xid",
            code=94,
            bdf="0000:1b:00",
            message=f"at {at_s}",
        )
        return Observed(self.name, "kernel", records.encode(fault))

    def seen(self, from_s: int, to_s: int) -> list[Observed]:
        found = [(at, self.frame(at)) for at in range(from_s, to_s, EVERY_S)]
        found += [(at, self.fault(at)) for at in FAULTS_S if from_s <= at < to_s]
        return [observed for _, observed in sorted(found, key=lambda each: each[0])]


class Agents:
    """Say again what no broker has acknowledged. away: there is none now."""

    def __init__(self, ingress: KafkaIngress) -> None:
        self._ingress = ingress
        self.away = False

    async def tell(self, seen: Sequence[Observed]) -> None:
        entries = [Entry(each.node, each.kind, each.value, each.ts) for each in seen]
        while True:
            try:
                await self._ingress.append(topics.OBSERVATIONS, entries)
            except Unavailable:
                self.away = True
                await asyncio.sleep(0.2)
            else:
                return


def test_an_hour_without_a_broker(own_broker: Broker) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=2, session_timeout_s=3.0)
    start_ms = wall_ms() - 1000 * (HOUR_S + 60)
    nodes = [Node(name, start_ms) for name in NODES]

    async def live_on(agents: Agents) -> None:
        """However long the stages take: whoever said nothing for ten seconds would be unknown."""
        for node in nodes:
            await agents.tell([node.alive()])
        await asyncio.sleep(0.2)

    async def run() -> tuple[list[Xid], list[Score]]:
        await create(kafka)
        await take_given_times(kafka)
        ingress = KafkaIngress(kafka)
        agents = Agents(ingress)
        worker, stop = Worker(kafka), asyncio.Event()
        at_work = asyncio.create_task(worker.run(stop))
        for node in nodes:
            await agents.tell([each._replace(ts=start_ms) for each in node.seen(0, 60)])
        await until_scored(kafka, {f"GPU-{name}" for name in NODES})

        own_broker.kill()
        waiting = asyncio.gather(*(agents.tell(node.seen(60, HOUR_S)) for node in nodes))
        async with asyncio.timeout(WAIT_S):
            while not agents.away:
                await asyncio.sleep(0.05)
        own_broker.start()
        async with asyncio.timeout(WAIT_S):
            await waiting
            while len(await committed(kafka, topics.XIDS, Xid)) < len(NODES) * len(FAULTS_S):
                await live_on(agents)
        timers_ms = wall_ms() + 6_000  # the timers that follow
        async with asyncio.timeout(WAIT_S):
            while not all(running.stats.stream_ms > timers_ms for running in worker.running.values()):
                await live_on(agents)
        stop.set()
        await at_work
        await ingress.close()
        return await committed(kafka, topics.XIDS, Xid), await committed(kafka, topics.SCORES, Score)

    xids, scores = asyncio.run(run())
    told = {(xid.node, xid.message) for xid in xids if not xid.repeat}
    assert told == {(name, f"at {at}") for name in NODES for at in FAULTS_S}, "every fault, at its own time"
    assert len(xids) == len(told)
    reasons = [reason for score in scores for reason in score.reasons]
    assert not [reason for reason in reasons if reason.signal == "presence"], "nobody has aged"
    errors = {score.uuid: each.value for score in scores for each in score.reasons if each.signal == "correctable_ecc"}
    assert errors == {f"GPU-{name}": 11.0 for name in NODES}, "the limit of 10 an hour, in the time of the nodes"


async def take_given_times(kafka: Kafka) -> None:
    admin = AIOKafkaAdminClient(**kafka.client())
    await admin.start()
    configs = {"message.timestamp.type": "CreateTime"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, kafka.topic(topics.OBSERVATIONS), configs)])
    await admin.close()


async def until_scored(kafka: Kafka, uuids: set[str]) -> None:
    async with asyncio.timeout(WAIT_S):
        while {score.uuid for score in await committed(kafka, topics.SCORES, Score)} != uuids:
            await asyncio.sleep(0.1)


async def committed(kafka: Kafka, topic: str, type_: type[T]) -> Sequence[T]:
    consumer = AIOKafkaConsumer(**kafka.client(), isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    place = TopicPartition(kafka.topic(topic), 0)
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    end = (await consumer.end_offsets([place]))[place]
    found: list[T] = []
    while await consumer.position(place) < end:
        for messages in (await consumer.getmany(timeout_ms=200)).values():
            found += [msgspec.json.decode(message.value, type=type_) for message in messages if message.value]
    await consumer.stop()
    return found
