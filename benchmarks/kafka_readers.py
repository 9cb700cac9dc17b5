"""What a reader sees of a benchmark: when its kernel faults became visible in a topic."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.kafka.settings import Kafka
from schemas.records import Reason


class Judged(msgspec.Struct):
    """What decisions and condition changes have in common, and the weight of decisions.

    score: 0 after a fault that takes the GPU out.
    """

    uuid: str = ""
    score: float | None = None
    weight: float = 0.0
    reasons: list[Reason] = []


_decode = msgspec.json.Decoder(Judged).decode


@contextmanager
def faults_seen(kafka: Kafka, topic: str) -> Iterator[dict[str, float]]:
    """By UUID, time.time() when a committed reader first had what a kernel fault caused; fills while the block runs.

    It begins when the reader has read what was there before.
    """
    seen: dict[str, float] = {}
    stop, ready = threading.Event(), threading.Event()
    reader = threading.Thread(target=lambda: asyncio.run(_read(kafka, topic, seen, ready, stop)), daemon=True)
    reader.start()
    ready.wait()
    try:
        yield seen
    finally:
        stop.set()
        reader.join()


async def _read(
    kafka: Kafka, topic: str, seen: dict[str, float], ready: threading.Event, stop: threading.Event
) -> None:
    consumer = AIOKafkaConsumer(
        **kafka.client(), isolation_level="read_committed", auto_offset_reset="earliest", fetch_max_wait_ms=100
    )
    await consumer.start()
    place = TopicPartition(kafka.topic(topic), 0)
    consumer.assign([place])
    end = (await consumer.end_offsets([place]))[place]
    while not stop.is_set():
        if not ready.is_set() and await consumer.position(place) >= end:
            ready.set()
        for messages in (await consumer.getmany(timeout_ms=100)).values():
            now = time.time()
            for message in messages:
                if b'"xid"' in (message.value or b""):
                    judged = _decode(message.value)
                    if judged.score == judged.weight == 0.0 and any(
                        reason.signal == "xid" for reason in judged.reasons
                    ):
                        seen.setdefault(judged.uuid, now)
    await consumer.stop()
