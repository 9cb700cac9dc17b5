"""What people say to a running fleet, put where the node stage reads it: policies, and operators' words."""

from __future__ import annotations

import msgspec

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.kafka.admin import connected
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry, Unavailable
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


async def say(kafka: Kafka, word: records.Operator) -> None:
    """Put an operator's word where its node's are read, or, where it is on no single node, on one partition.

    Raises UsageProblem: it may or may not be there; said again it counts once, as it keeps its id.
    """
    ingress = KafkaIngress(kafka)
    try:
        await ingress.append(topics.OBSERVATIONS, [Entry(word.node, "operator", records.encode(word))])
    except Unavailable as outage:
        raise UsageProblem(
            f"kafka: {outage}", f"is {kafka.bootstrap} there, and may this user write observations?"
        ) from None
    finally:
        await ingress.close()
