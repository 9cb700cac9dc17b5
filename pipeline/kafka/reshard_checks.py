"""What has to be so before partitions are split, and what to do where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline.errors import UsageProblem
from pipeline.kafka import admin, reading, wire
from pipeline.kafka.reading import Span
from pipeline.kafka.settings import Kafka
from pipeline.topology import STAGES
from schemas.counts import counted

AGAIN_S = 0.1
COORDINATOR_S = 10.0
SHOWN = 3


def fits(present: int, partitions: int) -> None:
    """Raises UsageProblem unless `partitions` is a whole multiple of those there are."""
    if partitions % present or partitions < present:
        some = ", ".join(str(present * factor) for factor in range(2, 5))
        raise UsageProblem(
            f"{counted(present, 'partition')} cannot become {partitions}",
            f"each new one takes nodes of one old one alone, so that these fit: {some} and so on",
        )


def goes_on(begun: int, partitions: int) -> None:
    """Raises UsageProblem where an earlier run was to make another number of partitions."""
    if begun != partitions:
        raise UsageProblem(
            f"a reshard to {counted(begun, 'partition')} was begun and has not ended, and {partitions} are asked for",
            f"end it first: gpu-vitals topics reshard --partitions {begun}",
        )


async def nobody_works(kafka: Kafka) -> None:
    """Raises UsageProblem while a stage's group has members."""
    async with admin.connected(kafka) as client:
        for stage in STAGES:
            group = kafka.group(stage.name)
            if members := await _members(client, group):
                number = f"{len(members)} worker{'s' * (len(members) != 1)}"
                raise UsageProblem(
                    f"group {group} still has {number}: {', '.join(members[:SHOWN])}",
                    "stop the agents, let the workers judge what has come, then stop the workers; one that was"
                    f" killed is forgotten after {kafka.session_timeout_s:g} s",
                )


async def waiting(kafka: Kafka, positions: Mapping[TopicPartition, int]) -> UsageProblem | None:
    """What to say where observations wait to be judged. Ticks do not count: they only tell the time."""
    async with reading.opened(kafka) as reader:
        spans = await reader.kept(list(positions))
        behind = [Span(place, max(positions[place], start), end) for place, start, end in spans]
        async for place, messages in reader.read(behind):
            for message in messages:
                if wire.record(message).kind != "tick":
                    return UsageProblem(
                        f"{place.topic}/{place.partition}: records from offset {message.offset} on wait to be judged",
                        "stop the agents, start the workers until they have judged all, then stop the workers",
                    )
    return None


async def _members(client: AIOKafkaAdminClient, group: str) -> list[str]:
    """Names and hosts of those in the group."""
    deadline = asyncio.get_running_loop().time() + COORDINATOR_S
    while True:
        try:
            (response,) = await client.describe_consumer_groups([group])
            (described,) = response.groups
            admin.demand(described[0], f"may not describe group {group}")
        except KafkaError as error:
            # On a new cluster the first question makes the topic that the groups live in.
            if not error.retriable or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(AGAIN_S)
        else:
            return [f"{member[1]} at {member[2]}" for member in described[5]]
