"""What people say to a running fleet, put where the node stage reads it: policies, and operators' words."""

from __future__ import annotations

import msgspec

from pipeline.clock import wall_ms
from pipeline.kafka.admin import connected
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from schemas import records, topics


async def apply_policy(kafka: Kafka, policy: records.PolicyChange) -> int:
    """Put `policy` in force on every partition, one copy each; returns how many.

    Raises UsageProblem (no broker, no topic), Unavailable.
    """
    async with connected(kafka) as admin:
        (topic,) = await admin.describe_topics([kafka.topic(topics.OBSERVATIONS)])
    partitions = len(topic["partitions"])
    value = records.encode(msgspec.structs.replace(policy, ts=wall_ms()))
    ingress = KafkaIngress(kafka)
    try:
        copies = [Entry("", "policy", value, None, partition) for partition in range(partitions)]
        await ingress.append(topics.OBSERVATIONS, copies)
    finally:
        await ingress.close()
    return partitions
