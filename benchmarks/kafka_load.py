"""Load for the Kafka benchmarks: a broker of our own, topics, and frames put there as fast as they go."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer

from pipeline.kafka import topics, wire
from pipeline.kafka.settings import Kafka
from schemas.log import Record
from schemas.topics import OBSERVATIONS
from scripts.kafka_broker import Broker

WINDOW = 2_000  # frames on their way at a time


@contextmanager
def broker() -> Iterator[Broker]:
    """A broker on a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="gpu-vitals-bench-") as directory:
        started = Broker(Path(directory), heap_mb=512)
        started.start()
        try:
            yield started
        finally:
            started.kill()


def made(bootstrap: str, name: str, partitions: int) -> Kafka:
    """Settings of a fleet of its own, with its topics."""
    kafka = Kafka(bootstrap=bootstrap, prefix=f"{name}.", partitions=partitions)
    asyncio.run(topics.create(kafka))
    return kafka


async def publish(kafka: Kafka, log: Sequence[Record]) -> None:
    """Append all of `log`, keyed by node."""
    producer = AIOKafkaProducer(
        **kafka.client(), enable_idempotence=True, compression_type="zstd", linger_ms=20, max_batch_size=512 << 10
    )
    await producer.start()
    topic, headers = kafka.topic(OBSERVATIONS), wire.headers("telemetry")
    try:
        for start in range(0, len(log), WINDOW):
            sent = [
                await producer.send(topic, record.value, record.key.encode(), headers=headers)
                for record in log[start : start + WINDOW]
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
