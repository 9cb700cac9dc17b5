"""Load for the Kafka benchmarks: a broker of our own, topics, a backlog, and a fleet that lives.

$ python -m benchmarks.kafka_load KAFKA LOAD        a fleet that lives (both as JSON), until SIGTERM
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.fleets import TICKS
from benchmarks.kafka_fleet import Fleet
from pipeline.clock import wall_ms
from pipeline.kafka import topics, wire
from pipeline.kafka.settings import Kafka
from schemas.log import Record
from schemas.topics import OBSERVATIONS
from scripts.kafka_broker import Broker

BATCH_BYTES = 512 << 10
HEADERS = {kind: wire.headers(kind) for kind in ("telemetry", "kernel")}


class Load(msgspec.Struct, kw_only=True):
    """gpus: at 1 Hz, a frame of each node every 5 s. slice_s: how often something is published: each time, some
    nodes of every partition. ramp_s: from the first node to all of them.
    """

    gpus: int
    slice_s: float = 0.1
    moving: bool = False
    ramp_s: float = 0.0


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


def made(bootstrap: str, name: str, partitions: int, *, dated: bool = False) -> Kafka:
    """Settings of a fleet of its own, with its topics. dated: append times are what the producer says they are."""
    kafka = Kafka(bootstrap=bootstrap, prefix=f"{name}.", partitions=partitions)
    asyncio.run(_make(kafka, dated))
    return kafka


async def _make(kafka: Kafka, dated: bool) -> None:
    if dated:
        admin = AIOKafkaAdminClient(**kafka.client())
        await admin.start()
        wanted = next(each for each in topics.wanted(kafka) if each.topic.name == OBSERVATIONS)
        configs = wanted.configs | {"message.timestamp.type": "CreateTime"}
        await admin.create_topics([NewTopic(wanted.name, wanted.partitions, 1, topic_configs=configs)])
        await admin.close()
    await topics.create(kafka)


class Publisher:
    """Whole batches for partitions of the observations, in order; `start` to `flush`."""

    def __init__(self, kafka: Kafka) -> None:
        self._topic = kafka.topic(OBSERVATIONS)
        self._producer = AIOKafkaProducer(
            **kafka.client(), enable_idempotence=True, compression_type="zstd", max_batch_size=BATCH_BYTES
        )
        self._sent: list[asyncio.Future[object]] = []

    async def start(self) -> None:
        await self._producer.start()

    async def put(self, partition: int, records: Sequence[Record]) -> None:
        """Waits while there is much on its way."""
        batch = self._producer.create_batch()
        for record in records:
            message = {
                "timestamp": record.ts,
                "key": record.key.encode(),
                "value": record.value,
                "headers": HEADERS[record.kind],
            }
            if batch.append(**message) is None:
                await self._send(batch, partition)
                batch = self._producer.create_batch()
                batch.append(**message)
        await self._send(batch, partition)

    async def _send(self, batch: BatchBuilder, partition: int) -> None:
        self._sent.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        if len(self._sent) > 1_000:
            await asyncio.gather(*self._sent)
            self._sent.clear()

    async def flush(self) -> None:
        await asyncio.gather(*self._sent)
        await self._producer.stop()


async def live(kafka: Kafka, load: Load) -> None:
    """Publish what the fleet says, at its pace; each second a line: time, frames so far, how late it is."""
    fleet, publisher = Fleet(load.gpus, kafka.partitions, moving=load.moving), Publisher(kafka)
    await publisher.start()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    slices = round(TICKS / load.slice_s)
    began, turn, frames = loop.time(), 0, 0
    while not stop.is_set():
        due = began + turn * load.slice_s
        await asyncio.sleep(due - loop.time())
        number, at = divmod(turn, slices)
        ms = wall_ms()
        for partition, nodes in enumerate(fleet.nodes):
            some = nodes[(at + partition) % slices :: slices]
            if due < began + load.ramp_s:
                some = some[: math.ceil(len(some) * (due - began) / load.ramp_s)]
            if some:
                values = fleet.frames(some, number, ms)
                await publisher.put(
                    partition,
                    [Record(0, ms, node.name, "telemetry", value) for node, value in zip(some, values, strict=True)],
                )
                frames += len(some)
        turn += 1
        if not turn % round(1 / load.slice_s):
            line = {"ms": wall_ms(), "frames": frames, "late_s": round(loop.time() - due, 3)}
            print(json.dumps(line), flush=True)
    await publisher.flush()


def main(kafka: str, load: str) -> None:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new partitions have no leader for a moment
    asyncio.run(live(msgspec.json.decode(kafka, type=Kafka), msgspec.json.decode(load, type=Load)))


if __name__ == "__main__":
    main(*sys.argv[1:])
