"""What a check of a node says of Kafka, and of the node's clock against the broker's."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.kafka import admin, wire
from pipeline.kafka.letting_go import let_go
from pipeline.kafka.settings import Kafka
from producers.finding import Finding
from schemas import records, topics
from schemas.counts import counted

ANSWER_S = 15.0
OFF_MS, FAR_OFF_MS = 1_000, 5_000  # a stage takes no time that is further ahead of its append than the latter
MEND_CLOCK = "let chrony or systemd-timesyncd set this clock"
GRANT = "`gpu-vitals topics acls --role agent` prints what an agent needs"
CREATE = "`gpu-vitals topics create` makes it; --prefix names those of another fleet"
LOG_APPEND_TIME = 1


async def findings(kafka: Kafka) -> list[Finding]:
    """Whether the brokers answer, let us in, and have what an agent needs.

    It appends one record that says nothing but the time: only that tells whether we may, and what the broker's clock
    shows.
    """
    try:
        async with asyncio.timeout(ANSWER_S), admin.connected(kafka) as client:
            brokers = len((await client.describe_cluster())["brokers"])
            wanted = [kafka.topic(topics.OBSERVATIONS), kafka.topic(topics.COMMANDS)]
            described = {each["topic"]: each for each in await client.describe_topics(wanted)}
    except UsageProblem as problem:
        return [Finding("kafka", "error", problem.text.removeprefix("kafka: "), problem.help)]
    except TimeoutError:
        return [Finding("kafka", "error", f"{kafka.bootstrap}: no answer within {ANSWER_S:g} s", "see the brokers")]
    protocol = kafka.client()["security_protocol"]
    who = f", as {kafka.user}" if kafka.user else ""
    answers = f"{kafka.bootstrap} answers ({protocol}{who}), {counted(brokers, 'broker')}"
    found = [Finding("kafka", "ok", answers)]
    observations = _topic(described, wanted[0], "error")
    found.append(observations)
    if observations.state == "ok":
        found += await _append(kafka)
    return [*found, _topic(described, wanted[1], "warning")]


def _topic(described: dict[str, Any], name: str, otherwise: str) -> Finding:
    topic = described.get(name, {"error_code": UnknownTopicOrPartitionError.errno})
    error = for_code(topic["error_code"])
    if error is UnknownTopicOrPartitionError:
        return Finding("kafka", otherwise, f"no topic {name}", CREATE)
    if error is TopicAuthorizationFailedError:
        return Finding("kafka", otherwise, f"not authorized to see {name}", GRANT)
    if topic["error_code"]:
        return Finding("kafka", otherwise, f"{name}: {error.__name__}", "see the brokers")
    partitions = len(topic["partitions"])
    return Finding("kafka", "ok", f"topic {name} with {partitions} partition{'s' * (partitions != 1)}")


async def _append(kafka: Kafka) -> list[Finding]:
    """Whether we may, and how far the clocks are apart."""
    topic = kafka.topic(topics.OBSERVATIONS)
    producer = AIOKafkaProducer(**kafka.client(), enable_idempotence=True)  # as an agent does
    try:
        async with asyncio.timeout(ANSWER_S):
            await producer.start()
            await producer.partitions_for(topic)  # now, lest it is counted as the way
            tick = records.encode(records.Tick(ts=wall_ms()))
            began, sent_ms = time.monotonic(), wall_ms()
            appended = await producer.send_and_wait(topic, tick, b"", headers=wire.headers("tick"))
            took_ms = 1000.0 * (time.monotonic() - began)
    except TopicAuthorizationFailedError:
        return [Finding("kafka", "error", f"not authorized to write to {topic}", GRANT)]
    except (KafkaError, OSError, TimeoutError) as error:
        why = str(error) or f"no acknowledgement within {ANSWER_S:g} s"
        return [Finding("kafka", "error", f"{topic}: nothing can be appended: {why}", "see the brokers")]
    finally:
        await let_go(producer)
    found = [Finding("kafka", "ok", f"{topic} took a record in {took_ms:.0f} ms")]
    if appended.timestamp_type != LOG_APPEND_TIME:
        differs = f"{topic} keeps the times that agents send, not those of the append"
        return [*found, Finding("kafka", "error", differs, "`gpu-vitals topics check` says how to mend it")]
    return [*found, _clock(appended.timestamp - sent_ms, took_ms)]


def _clock(ahead_ms: int, took_ms: float) -> Finding:
    """ahead_ms: the time at which the broker appended, less that at which we sent."""
    if 0 <= ahead_ms <= took_ms:
        return Finding("clock", "ok", f"agrees with the broker's, to {took_ms:.0f} ms")
    off_ms = -ahead_ms if ahead_ms < 0 else ahead_ms - took_ms
    words = f"{off_ms / 1000:.3f} s {'ahead of' if ahead_ms < 0 else 'behind'} the broker's, to {took_ms:.0f} ms"
    if off_ms < OFF_MS:
        return Finding("clock", "ok", words)
    return Finding("clock", "error" if off_ms > FAR_OFF_MS else "warning", words, MEND_CLOCK)
