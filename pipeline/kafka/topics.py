"""The topics as a cluster should have them, from their one declaration (`schemas.topics`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import InvalidReplicationFactorError, TopicAlreadyExistsError, for_code

from pipeline.errors import UsageProblem
from pipeline.kafka import admin
from pipeline.kafka.settings import Kafka
from schemas.topics import MESSAGE_BYTES_MAX, STATES, TOPICS, Topic

SEGMENT_BYTES = 64 << 20  # of compacted topics: what is not compacted yet is read at every start
VISIBLE_S = 0.02  # between two looks for what was just made


class Wanted(NamedTuple):
    """One topic: its full name, and what it is made with."""

    topic: Topic
    name: str
    partitions: int
    replication: int
    configs: dict[str, str]


def wanted(kafka: Kafka) -> list[Wanted]:
    """All topics, in the order of their declaration."""
    return [
        Wanted(
            topic,
            kafka.topic(topic.name),
            kafka.partitions if topic.spread else 1,
            kafka.replication,
            _configs(topic, kafka),
        )
        for topic in (*TOPICS.values(), STATES)
    ]


def _configs(topic: Topic, kafka: Kafka) -> dict[str, str]:
    configs = {
        "message.timestamp.type": "LogAppendTime" if topic.appended else "CreateTime",
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "min.insync.replicas": str(max(1, kafka.replication - 1)),
    }
    if topic.retention_s is None:
        configs |= {"cleanup.policy": "compact", "segment.bytes": str(SEGMENT_BYTES)}
    else:
        configs |= {"cleanup.policy": "delete", "retention.ms": str(topic.retention_s * 1000)}
    return configs


async def create(kafka: Kafka) -> list[str]:
    """Create what is missing; returns the names. What exists is left as it is, whatever it is.

    Guarantees: after return the topics can be written and read.
    Raises UsageProblem: no broker answers, we may not, more copies than brokers, a name that Kafka refuses.
    """
    async with admin.connected(kafka) as client:
        brokers = len((await client.describe_cluster())["brokers"])
        every = [
            NewTopic(each.name, each.partitions, each.replication, topic_configs=each.configs) for each in wanted(kafka)
        ]
        response = await client.create_topics(every)
        await _visible(client, [name for name, code, _ in response.topic_errors if not code])
    created = []
    for name, code, why in response.topic_errors:
        error = for_code(code)
        if error is InvalidReplicationFactorError:
            raise UsageProblem(
                f"kafka.replication: {kafka.replication} copies of each partition, "
                f"and the cluster has {brokers} broker{'s' * (brokers != 1)}",
                "lower it, or start more brokers",
            )
        if error in admin.NOT_ALLOWED:
            raise admin.not_authorized(kafka, f"may not create {name}")
        if code and error is not TopicAlreadyExistsError:
            raise UsageProblem(f"kafka: {name} was not created: {why or error.__name__}")
        if not code:
            created.append(name)
    return created


async def _visible(client: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until the brokers have heard of what the controller has made."""
    waiting = set(names)
    while waiting:
        for topic in await client.describe_topics():
            if all(partition["leader"] >= 0 for partition in topic["partitions"]):
                waiting.discard(topic["topic"])
        if waiting:
            await asyncio.sleep(VISIBLE_S)
