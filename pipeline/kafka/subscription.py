"""What a follower asks Kafka for: the settings of its consumer, which partitions there are, where a view begins."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.clock import wall_ms
from pipeline.kafka.settings import Kafka

START_S = 30.0
DAY_MS = 86_400_000


class Missing(Exception):
    """A topic does not exist."""


def options(kafka: Kafka, group: str | None) -> dict[str, Any]:
    """Of a consumer. group: of which it is a member; None: of none."""
    options = kafka.client() | {
        "retry_backoff_ms": 100,  # an outage is no reason to be busy
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "max_partition_fetch_bytes": 4 << 20,
    }
    if group is not None:
        session_ms = int(1000 * kafka.session_timeout_s)
        options |= {
            "group_id": group,
            "session_timeout_ms": session_ms,
            "heartbeat_interval_ms": session_ms // 4,
            "max_poll_interval_ms": DAY_MS,  # an hour of retries is no reason to lose one's place
        }
    return options


async def partitions(kafka: Kafka, topics: Collection[str]) -> list[TopicPartition]:
    """All of `topics`, in Kafka's names. Raises Missing, KafkaError, OSError, TimeoutError."""
    admin = AIOKafkaAdminClient(**kafka.client())
    try:
        async with asyncio.timeout(START_S):
            await admin.start()
            described = await admin.describe_topics([*topics])
    finally:
        await admin.close()
    found = [TopicPartition(topic["topic"], each["partition"]) for topic in described for each in topic["partitions"]]
    if missing := set(topics) - {partition.topic for partition in found}:
        raise Missing(f"no topic {min(missing)}; `gpu-vitals topics create` makes it")
    return sorted(found)


async def starts(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], recent_s: Mapping[str, float]
) -> dict[TopicPartition, int]:
    """Where a view begins in each partition: with the oldest record, or with the oldest that it needs.

    ends: of all its partitions. recent_s: by topic, in Kafka's names, how old a record may be that it needs.
    """
    oldest = dict(await consumer.beginning_offsets([*ends]))
    since = {
        partition: wall_ms() - int(1000 * recent_s[partition.topic])
        for partition in ends
        if partition.topic in recent_s
    }
    found = await consumer.offsets_for_times(since) if since else {}
    return oldest | {partition: at.offset if at else ends[partition] for partition, at in found.items()}
