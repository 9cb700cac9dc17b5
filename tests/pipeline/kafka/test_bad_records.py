"""What anybody may put on a stage's input, on a real Kafka: a dead letter that says why, and the partition goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from pipeline.kafka import wire
from pipeline.kafka.settings import Kafka
from pipeline.worker import Worker
from processors.testing import Observations
from schemas import records, topics
from schemas.fields import GPU_TEMP
from schemas.log import Record
from schemas.partitions import partition_of

Letters = dict[str, records.DeadLetter]

WAIT_S = 90.0
LARGE = 2 << 20


async def larger_records(kafka: Kafka) -> None:
    """As a cluster that takes more than it was told to."""
    admin = AIOKafkaAdminClient(**kafka.client())
    await admin.start()
    names = [kafka.topic(name) for name in (topics.OBSERVATIONS, topics.FLEET_EVENTS)]
    configs = {"max.message.bytes": str(2 * LARGE)}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs) for name in names])
    await admin.close()


def frame(node: str) -> Record:
    return Observations().frame(node, 1.0, {GPU_TEMP: 50}).records[0]


def of_version_2(record: Record) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(record.value) | {"v": 2})


async def put(producer: AIOKafkaProducer, name: str, value: bytes, key: bytes, headers: Any) -> RecordMetadata:
    """On partition 0, once the broker has heard that records may be larger."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await producer.send_and_wait(name, value, key, 0, headers=headers)
            except MessageSizeTooLargeError:
                await asyncio.sleep(0.1)


async def letters_for(kafka: Kafka, topic: str, bad: Mapping[str, tuple[str, str, bytes]]) -> Letters:
    """Put each of `bad` (key, kind, value) on partition 0 of `topic`, with a good record behind, and let a worker
    read it all; returns the dead letters by name.
    """
    home = next(name for name in (f"n{number}" for number in range(100)) if partition_of(name, kafka.partitions) == 0)
    await larger_records(kafka)
    producer = AIOKafkaProducer(**kafka.client(), max_request_size=3 * LARGE)
    await producer.start()
    name, places = kafka.topic(topic), {}
    for what, (key, kind, value) in bad.items():
        sent = await put(producer, name, value, key.encode(), wire.headers(kind))
        places[sent.offset] = what
    good = frame(home)
    await producer.send_and_wait(
        kafka.topic(topics.OBSERVATIONS), good.value, home.encode(), headers=wire.headers(good.kind)
    )
    await producer.stop()

    worker, stop = Worker(kafka), asyncio.Event()
    run = asyncio.create_task(worker.run(stop))
    found: Letters = {}
    decided = False
    try:
        async with asyncio.timeout(WAIT_S):
            while len(found) < len(bad) or not decided:
                await asyncio.sleep(0.2)
                for record in await all_records(kafka, topics.DEAD_LETTER):
                    letter = msgspec.json.decode(record.value, type=records.DeadLetter)
                    assert letter.source == record.key
                    assert letter.source.startswith(f"{topic}/0/")
                    found[places[int(letter.source.rpartition("/")[2])]] = letter
                decided = bool(await all_records(kafka, topics.DECISIONS))
    finally:
        stop.set()
        await run
    return found


async def all_records(kafka: Kafka, topic: str) -> list[Record]:
    consumer = AIOKafkaConsumer(**kafka.client(), isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    place = TopicPartition(kafka.topic(topic), 0)
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    found: list[Record] = []
    end = (await consumer.end_offsets([place]))[place]
    while await consumer.position(place) < end:
        found += [wire.record(each) for batch in (await consumer.getmany(timeout_ms=200)).values() for each in batch]
    await consumer.stop()
    return found


def test_bad_observations(kafka: Kafka) -> None:
    elsewhere = next(n for n in (f"n{number}" for number in range(100)) if partition_of(n, kafka.partitions) == 1)
    given = frame("n1")
    bad = {
        "wrong JSON": ("n1", "kernel", b'{"kind": "kernel"'),
        "wrong telemetry": ("n1", "telemetry", b"\xc1"),
        "unknown kind": ("n1", "rumour", b"{}"),
        "no headers of ours": ("n1", "", b"{}"),
        "wrong version": ("n1", given.kind, of_version_2(given)),
        "too large": ("n1", "telemetry", bytes(LARGE)),
        "wrong key": ("n2", given.kind, given.value),
        "wrong partition": (elsewhere, "telemetry", frame(elsewhere).value),
    }
    letters = asyncio.run(letters_for(kafka, topics.OBSERVATIONS, bad))
    why = {what: letter.why for what, letter in letters.items()}
    assert why["wrong version"] == "schema version 2, expected 1"
    assert why["wrong key"] == "key 'n2' is not the node that the record is of, 'n1'"
    assert why["wrong partition"] == f"node '{elsewhere}' belongs to partition 1 of 2, not 0"
    assert why["unknown kind"] == "records of kind 'rumour' are not understood"
    assert all(why.values())
    assert (letters["too large"].size, len(letters["too large"].data)) == (LARGE, 512 << 10)
    assert letters["wrong JSON"].data == bad["wrong JSON"][2]


def test_bad_fleet_events(kafka: Kafka) -> None:
    well = records.ConditionChange(ts=1, cluster="c", node="n", uuid="G", score=1.0, held=1.0, condition="healthy")
    newer = msgspec.json.encode(msgspec.to_builtins(well) | {"v": 2, "kind": "condition"})
    bad = {
        "wrong JSON": ("G", "condition", b"{"),
        "unknown kind": ("G", "rumour", b"{}"),
        "wrong version": ("G", "condition", newer),
        "too large": ("G", "condition", b'{"' + bytes(LARGE)),
        "wrong key": ("another", "condition", records.encode(well)),
    }
    letters = asyncio.run(letters_for(kafka, topics.FLEET_EVENTS, bad))
    assert letters["wrong version"].why == "schema version 2, expected 1"
    assert letters["wrong key"].why == "key 'another' is not the GPU that the record is of, 'G'"
    assert letters["too large"].size == LARGE + 2
