"""From a kernel line to the decision that a scheduler sees, while a fleet sends telemetry.

Once with 100,000 GPUs of which some fall off the bus; once with 1,000 nodes, where double-bit errors (Xid 48) have to
stop the routing of what may be wrong. One fault about every 100 ms, each on another node. Timed from just before the
agent's producer gets the record, by two committed readers: of `fleet-events` (the node stage has said it) and of
`decisions` (weight 0). What the agent takes before is measured by `agent_latency`.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from benchmarks.kafka_fleet import FELL_OFF_THE_BUS, Fleet, Node, fault
from benchmarks.kafka_load import HEADERS, Load, broker, made
from benchmarks.kafka_processes import Process, Shares, Worker, generator, wait, worker
from benchmarks.kafka_readers import faults_seen
from benchmarks.kafka_sustained import come_up
from pipeline.kafka.settings import Kafka
from schemas.topics import DECISIONS, FLEET_EVENTS, OBSERVATIONS

FAULTS, APART_S = 300, (0.05, 0.15)
WARM_S = 30.0  # the broker's compiler is at work


class Case(NamedTuple):
    """gpus: of the fleet. code: the Xid. p50_ms, p99_ms: what is asked of the whole way."""

    gpus: int
    partitions: int
    code: int
    p50_ms: float | None
    p99_ms: float


CASES = (Case(100_000, 17, FELL_OFF_THE_BUS, 20, 50), Case(8_000, 2, 48, None, 100))


class Said(NamedTuple):
    """at: time.time() before it was sent. appended: when the broker had it in the log, acknowledged."""

    at: float
    appended: float


def main() -> None:
    for case in CASES:
        print(f"Xid {case.code} among {case.gpus} GPUs")
        with broker() as started:
            kafka = made(started.bootstrap, "latency", case.partitions)
            with worker(kafka) as at_work, generator(kafka, Load(gpus=case.gpus)) as fleet:
                wait(lambda: bool(fleet.newest()), "the load's first second")
                come_up(at_work, at_work, case.partitions)
                time.sleep(WARM_S)
                shares = Shares(load=fleet, worker=at_work, broker=Process(started.pid or 0))
                measure(kafka, at_work, case)
                used = ", ".join(f"{name} {share:.2f}" for name, share in shares.end().items())
                print(f"cores: {used}; the load itself {fleet.newest()['late_s']:.2f} s late")


def measure(kafka: Kafka, at_work: Worker, case: Case) -> None:
    chance = random.Random(1)
    nodes = [node for nodes in Fleet(case.gpus, case.partitions).nodes for node in nodes]
    failing = chance.sample(nodes, FAULTS)
    with faults_seen(kafka, FLEET_EVENTS) as judged, faults_seen(kafka, DECISIONS) as decided:
        said = asyncio.run(say(kafka, failing, chance, case.code))
        at_work.check()
        wait(lambda: said.keys() <= decided.keys(), "the last decision", 10.0)
    row("append", [each.appended - each.at for each in said.values()])
    row("node stage, committed and read", [judged[uuid] - each.appended for uuid, each in said.items()])
    row("cluster stage, committed and read", [decided[uuid] - judged[uuid] for uuid in said])
    row("kernel line -> decision", [decided[uuid] - each.at for uuid, each in said.items()], case)


def row(what: str, times_s: list[float], case: Case | None = None) -> None:
    cuts = statistics.quantiles([1000 * each for each in times_s], n=100)
    median = f"p50 {case.p50_ms:g} ms, " if case and case.p50_ms else ""
    wanted = f"   (at most {median}p99 {case.p99_ms:g} ms)" if case else ""
    print(f"{what:44}p50{cuts[49]:7.1f} ms   p90{cuts[89]:7.1f} ms   p99{cuts[98]:7.1f} ms{wanted}", flush=True)


async def say(kafka: Kafka, failing: list[Node], chance: random.Random, code: int) -> dict[str, Said]:
    """One GPU of each of `failing` after the other; by UUID."""
    producer = AIOKafkaProducer(**kafka.client(), enable_idempotence=True, compression_type="zstd", linger_ms=0)
    await producer.start()
    topic, said = kafka.topic(OBSERVATIONS), {}
    for number, node in enumerate(failing):
        await asyncio.sleep(chance.uniform(*APART_S))
        at = number % len(node.gpus)
        record = fault(node, at, int(1000 * time.time()), code=code)
        began = time.time()
        await producer.send_and_wait(topic, record, node.key, headers=HEADERS["kernel"])
        said[node.gpus[at].uuid] = Said(began, time.time())
    await producer.stop()
    return said


if __name__ == "__main__":
    main()
