"""Putting commands on Kafka: what names the GPU is what its node said last."""

from __future__ import annotations

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.errors import UsageProblem
from pipeline.kafka import reading, wire
from pipeline.kafka.settings import Kafka
from schemas import records, topics

_inventory = msgspec.json.Decoder(records.Inventory).decode


async def inventory(kafka: Kafka, node: str) -> records.Inventory:
    """The newest of that node. Raises UsageProblem: it has told none."""
    newest = b""
    places = (await reading.partitions(kafka, topics.INVENTORY))[topics.INVENTORY]
    async with reading.opened(kafka) as reader:
        async for _, messages in reader.read(await reader.kept(places)):
            for message in messages:
                if message.key == node.encode():
                    newest = message.value or b""
    if not newest:
        raise UsageProblem(
            f"node {node} has told no inventory", "does its agent run, and a worker? else give --boot and --bdf"
        )
    return _inventory(newest)


async def send(kafka: Kafka, command: records.Command) -> None:
    """Returns once it is there to stay. Raises UsageProblem: it may or may not be there."""
    opened = producer(kafka)
    try:
        await opened.start()
        await put(opened, kafka, command)
    except KafkaError as error:
        raise UsageProblem(
            f"kafka: {error}", f"is {kafka.bootstrap} there, and may this user write commands?"
        ) from None
    finally:
        await opened.stop()


def producer(kafka: Kafka) -> AIOKafkaProducer:
    """Not started yet."""
    return AIOKafkaProducer(**kafka.client(), acks="all", enable_idempotence=True)


async def put(started: AIOKafkaProducer, kafka: Kafka, command: records.Command) -> None:
    """Returns once it is there to stay. Raises aiokafka.errors.KafkaError: it may or may not be there."""
    topic, headers = kafka.topic(topics.COMMANDS), wire.headers("command")
    await started.send_and_wait(topic, records.encode(command), command.node.encode(), headers=headers)
