"""From a kernel line to the decision that a scheduler sees, while 100,000 GPUs send telemetry.

GPUs of different nodes fall off the bus, one about every 100 ms. Timed from just before the agent's producer gets
the record, by two committed readers: of `fleet-events` (the node stage has said it) and of `decisions`.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from benchmarks.kafka_fleet import Fleet, Node, fault
from benchmarks.kafka_load import HEADERS, Load, broker, made
from benchmarks.kafka_processes import Process, Shares, Worker, generator, wait, worker
from benchmarks.kafka_readers import faults_seen
from benchmarks.kafka_sustained import come_up
from pipeline.kafka.settings import Kafka
from schemas.topics import DECISIONS, FLEET_EVENTS, OBSERVATIONS

FLEET, PARTITIONS = 100_000, 17
FAULTS, APART_S = 300, (0.05, 0.15)
WARM_S = 30.0  # the broker's compiler is at work
P50_MS, P99_MS = 20, 50


class Said(NamedTuple):
    """at: time.time() before it was sent. appended: when the broker had it in the log, acknowledged."""

    at: float
    appended: float


def main() -> None:
    with broker() as started:
        kafka = made(started.bootstrap, "latency", PARTITIONS)
        with worker(kafka) as at_work, generator(kafka, Load(gpus=FLEET)) as fleet:
            wait(lambda: bool(fleet.newest()), "the load's first second")
            come_up(at_work, at_work, PARTITIONS)
            time.sleep(WARM_S)
            shares = Shares(load=fleet, worker=at_work, broker=Process(started.pid or 0))
            measure(kafka, at_work)
            used = ", ".join(f"{name} {share:.2f}" for name, share in shares.end().items())
            print(f"cores: {used}; the load itself {fleet.newest()['late_s']:.2f} s late")


def measure(kafka: Kafka, at_work: Worker) -> None:
    chance = random.Random(1)
    nodes = [node for nodes in Fleet(FLEET, PARTITIONS).nodes for node in nodes]
    failing = chance.sample(nodes, FAULTS)
    with faults_seen(kafka, FLEET_EVENTS) as judged, faults_seen(kafka, DECISIONS) as decided:
        said = asyncio.run(say(kafka, failing, chance))
        at_work.check()
        wait(lambda: said.keys() <= decided.keys(), "the last decision", 10.0)
    row("append", [each.appended - each.at for each in said.values()])
    row("node stage, committed and read", [judged[uuid] - each.appended for uuid, each in said.items()])
    row("cluster stage, committed and read", [decided[uuid] - judged[uuid] for uuid in said])
    row("kernel line -> decision", [decided[uuid] - each.at for uuid, each in said.items()], targets=True)


def row(what: str, times_s: list[float], targets: bool = False) -> None:
    cuts = statistics.quantiles([1000 * each for each in times_s], n=100)
    wanted = f"   (at most p50 {P50_MS} ms, p99 {P99_MS} ms)" if targets else ""
    print(f"{what:44}p50{cuts[49]:7.1f} ms   p90{cuts[89]:7.1f} ms   p99{cuts[98]:7.1f} ms{wanted}", flush=True)


async def say(kafka: Kafka, failing: list[Node], chance: random.Random) -> dict[str, Said]:
    """One GPU of each of `failing` after the other; by UUID."""
    producer = AIOKafkaProducer(**kafka.client(), enable_idempotence=True, compression_type="zstd", linger_ms=0)
    await producer.start()
    topic, said = kafka.topic(OBSERVATIONS), {}
    for number, node in enumerate(failing):
        await asyncio.sleep(chance.uniform(*APART_S))
        at = number % len(node.gpus)
        record = fault(node, at, int(1000 * time.time()))
        began = time.time()
        await producer.send_and_wait(topic, record, node.key, headers=HEADERS["kernel"])
        said[node.gpus[at].uuid] = Said(began, time.time())
    await producer.stop()
    return said


if __name__ == "__main__":
    main()
