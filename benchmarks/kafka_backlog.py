"""A backlog on Kafka -> decisions, beside raw reading and the same decoding.

The records are dated as if they had come at 1 Hz. The node stage has a process, as has the cluster stage, and the
broker runs beside them. In each partition a kernel fault comes behind the first part, which makes every GPU known,
and another one at the very end: measured is from the first decision on the former to the last one on the latter, as
a committed reader of `decisions` sees them. Other GPUs fail in between.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.fleets import GPUS, TICKS
from benchmarks.kafka_fleet import Fleet, Node, fault
from benchmarks.kafka_load import Publisher, broker, made
from benchmarks.kafka_processes import wait, worker
from benchmarks.kafka_readers import faults_seen
from pipeline.clock import wall_ms
from pipeline.kafka.settings import Kafka
from processors.frame import decode_frame
from schemas.log import Record
from schemas.topics import DECISIONS, OBSERVATIONS

FLEET = 12_000  # GPUs
PARTITIONS = 2
KINDS = {False: "quiet", True: "five counters move"}
SECONDS = {False: 1_800, True: 1_000}  # of the fleet's life, by whether counters move: some 10 s of work
ROUNDS = 3  # the best of them counts: what the code costs, not what else the machine does
WARM_ROUNDS = 60
FAULT_ROUNDS = 6  # rounds between GPUs that fail
LIMIT_S = 170.0


class Backlog(NamedTuple):
    """first, last: UUIDs of the GPUs that fail at the ends of what is measured; gpu_ticks lie between."""

    gpu_ticks: int
    first: set[str]
    last: set[str]


class Rate(NamedTuple):
    """GPU-ticks: by the clock, and by what the process used of the processor."""

    per_s: float
    per_cpu_s: float


def main() -> None:
    with broker() as started:
        for moving in (False, True):
            raws, ours = [], []
            for number in range(ROUNDS):
                kafka, backlog = prepared(started.bootstrap, SECONDS[moving], moving=moving, name=f"{number}")
                raws.append(raw_rate(kafka))
                ours.append(measured(kafka, backlog))
            raw, kind = max(raws), KINDS[moving]
            row(f"raw getmany and decode, {kind}", raw, raw)
            row(f"decisions, {kind}", max(ours), raw, 0.8e6 if moving else 2.0e6)


def prepared(bootstrap: str, seconds: int, *, moving: bool, name: str = "") -> tuple[Kafka, Backlog]:
    kafka = made(bootstrap, ("moving" if moving else "quiet") + name, PARTITIONS, dated=True)
    return kafka, asyncio.run(publish(kafka, Fleet(FLEET, PARTITIONS, moving=moving), seconds))


def row(what: str, found: Rate, raw: Rate, target: float = 0.0) -> None:
    share = 100 * found.per_s / raw.per_s
    wanted = f"   (at least {target / 1e6:.1f} M, 50 %)" if target else ""
    print(
        f"{what:44}{found.per_s / 1e6:8.2f} M GPU-ticks/s{found.per_cpu_s / 1e6:8.2f} M per CPU second"
        f"{share:6.0f} % of raw{wanted}",
        flush=True,
    )


async def publish(kafka: Kafka, fleet: Fleet, seconds: int) -> Backlog:
    """Append what `fleet` says in `seconds`, up to now, and the faults."""
    publisher = Publisher(kafka)
    await publisher.start()
    rounds, counted = seconds // TICKS, 0
    start_ms = wall_ms() - 1000 * seconds
    first, last = set(), set()
    for number in range(rounds):
        for partition, nodes in enumerate(fleet.nodes):
            records = of_round(fleet, nodes, number, start_ms + 1000 * TICKS * number)
            ms = records[-1].ts
            if number == WARM_ROUNDS:
                first.add(failing(nodes[0], 0, ms, records))
            elif number == rounds - 1:
                last.add(failing(nodes[0], 1, ms, records))
            elif not number % FAULT_ROUNDS:
                failing(nodes[1 + number // FAULT_ROUNDS % (len(nodes) - 1)], 2, ms, records, number)
            await publisher.put(partition, records)
            if number > WARM_ROUNDS:
                counted += len(nodes) * GPUS * TICKS
    await publisher.flush()
    return Backlog(counted, first, last)


def of_round(fleet: Fleet, nodes: list[Node], number: int, ms: int) -> list[Record]:
    """One frame of each node, in 50 groups that come one after the other."""
    records: list[Record] = []
    for group in range(50):
        some, at_ms = nodes[group::50], ms + group * 100
        for node, value in zip(some, fleet.frames(some, number, at_ms), strict=True):
            records.append(Record(0, at_ms, node.name, "telemetry", value))
    return records


def failing(node: Node, at: int, ms: int, records: list[Record], number: int | None = None) -> str:
    records.append(Record(0, ms, node.name, "kernel", fault(node, at, ms, at if number is None else number)))
    return node.gpus[at].uuid


def measured(kafka: Kafka, backlog: Backlog) -> Rate:
    with (
        faults_seen(kafka, DECISIONS) as decided,
        worker(kafka, "--stage", "cluster"),
        worker(kafka, "--stage", "node") as node,
    ):
        while not backlog.first & decided.keys():
            time.sleep(0.005)
            node.check()
        cpu_s = node.cpu_s()
        wait(lambda: backlog.last <= decided.keys(), "the last decision", LIMIT_S)
        cpu_s = node.cpu_s() - cpu_s
        took_s = max(decided[uuid] for uuid in backlog.last) - min(
            decided[uuid] for uuid in backlog.first & decided.keys()
        )
    return Rate(backlog.gpu_ticks / took_s, backlog.gpu_ticks / cpu_s)


def raw_rate(kafka: Kafka) -> Rate:
    argv = [sys.executable, "-m", "benchmarks.kafka_backlog", msgspec.json.encode(kafka).decode()]
    return Rate(*json.loads(subprocess.run(argv, check=True, capture_output=True).stdout))


async def raw(kafka: Kafka) -> Rate:
    """All of it, in this process."""
    consumer = AIOKafkaConsumer(
        **kafka.client(), enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    places = [TopicPartition(kafka.topic(OBSERVATIONS), partition) for partition in range(kafka.partitions)]
    consumer.assign(places)
    records = left = sum((await consumer.end_offsets(places)).values())
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    while left > 0:
        for messages in (await consumer.getmany(timeout_ms=100)).values():
            for message in messages:
                if len(message.value) > 1_000:  # a fault is no frame
                    decode_frame(message.value)
            left -= len(messages)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    await consumer.stop()
    gpu_ticks = records * GPUS * TICKS
    return Rate(gpu_ticks / wall_s, gpu_ticks / cpu_s)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(raw(msgspec.json.decode(sys.argv[1], type=Kafka)))))
