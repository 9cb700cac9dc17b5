"""A backlog on Kafka -> scores and decisions, one worker core, beside raw reading and the same decoding.

Worker and yardsticks are processes of their own; the broker runs beside them on the machine. Measured is what
comes behind the first frames of each node, which make every GPU known.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.fleets import GPUS, TICKS, fleet
from benchmarks.kafka_load import broker, made, publish
from pipeline.kafka.settings import Kafka
from pipeline.topology import STAGES
from pipeline.worker import Worker
from processors.ingest import decode_frame
from schemas.topics import OBSERVATIONS

FLEET, SECONDS = 12_000, 600  # GPUs
PARTITIONS = 2
WARM = 0.2  # of the backlog


def main() -> None:
    with broker() as started:
        for moving in (False, True):
            kind = "five counters move" if moving else "quiet"
            kafka = made(started.bootstrap, "moving" if moving else "quiet", PARTITIONS)
            log = fleet(FLEET // GPUS, SECONDS // (3 if moving else 1), moving=moving)
            asyncio.run(publish(kafka, log))
            raw = measured("raw", kafka)
            row(f"raw getmany and decode, {kind}", raw, raw)
            row(f"worker, {kind}", measured("worker", kafka), raw)


def measured(what: str, kafka: Kafka) -> dict[str, float]:
    """`what` over the backlog in a process of its own: GPU-ticks per second, by the clock and of the processor."""
    argv = [sys.executable, "-m", "benchmarks.kafka_backlog", what, msgspec.json.encode(kafka).decode()]
    found: dict[str, float] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return found


def row(what: str, found: dict[str, float], raw: dict[str, float]) -> None:
    rate, of_cpu = found["per_s"] / 1e6, found["per_cpu_s"] / 1e6
    share = 100 * found["per_s"] / raw["per_s"]
    print(f"{what:44}{rate:8.2f} M GPU-ticks/s{of_cpu:8.2f} M per CPU second{share:6.0f} % of raw", flush=True)


# --- in the process that is measured ---------------------------------------------------------------------------


async def raw(kafka: Kafka) -> None:
    consumer = AIOKafkaConsumer(
        **kafka.client(), enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    places = [TopicPartition(kafka.topic(OBSERVATIONS), partition) for partition in range(kafka.partitions)]
    consumer.assign(places)
    frames = left = sum((await consumer.end_offsets(places)).values())
    since = Since(0)
    while left > 0:
        for messages in (await consumer.getmany(timeout_ms=100)).values():
            for message in messages:
                decode_frame(message.value)
            left -= len(messages)
    since.print(frames)
    await consumer.stop()


async def worker(kafka: Kafka) -> None:
    stop = asyncio.Event()
    at_work = Worker(kafka, stages=STAGES[:1])
    run = asyncio.create_task(at_work.run(stop))
    while len(at_work.running) < kafka.partitions:
        await asyncio.sleep(0.01)
    running = list(at_work.running.values())
    ends = await at_work._log.ends([each.part for each in running])
    while any(each.stats.next_offset < WARM * ends[each.part] for each in running):
        await asyncio.sleep(0.01)
    since = Since(sum(each.stats.next_offset for each in running))
    while any(each.stats.next_offset < ends[each.part] for each in running):
        await asyncio.sleep(0.01)
    since.print(sum(ends.values()))
    stop.set()
    await run


class Since:
    """The moment from which on is measured; `done` frames lie before it."""

    def __init__(self, done: int) -> None:
        self.done = done
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def print(self, done: int) -> None:
        wall_s, cpu_s = time.perf_counter() - self.wall, time.process_time() - self.cpu
        ticks = (done - self.done) * GPUS * TICKS
        print(json.dumps({"per_s": ticks / wall_s, "per_cpu_s": ticks / cpu_s}), flush=True)


def child(what: str, settings: str) -> None:
    runs: dict[str, Any] = {"raw": raw, "worker": worker}
    asyncio.run(runs[what](msgspec.json.decode(settings, type=Kafka)))


if __name__ == "__main__":
    child(*sys.argv[1:])
