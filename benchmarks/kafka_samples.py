"""Telemetry as most would send it: one JSON message for each GPU and tick, 20 fields, keyed by GPU."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.fleets import GAUGES, MOVING, STILL
from benchmarks.kafka_backlog import Rate
from benchmarks.kafka_fleet import NOISE
from pipeline.clock import wall_ms
from schemas.fields import FIELDS
from schemas.partitions import partition_of

TOPIC = "samples"
PARTITIONS = 2
GPUS = 1_000
AT_A_TIME = 500
LIMIT_S = 150.0


async def create(bootstrap: str, *names: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    await admin.close()


async def publish(bootstrap: str, count: int) -> None:
    """`count` messages: every counter that may move grows by one a tick."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, compression_type="zstd", max_batch_size=512 << 10
    )
    await producer.start()
    chance, encode = random.Random(1), msgspec.json.Encoder().encode
    start_ms = wall_ms() - 1000 * count // GPUS
    uuids = [f"GPU-{number:032x}" for number in range(GPUS)]
    for partition in range(PARTITIONS):
        ours = [uuid for uuid in uuids if partition_of(uuid, PARTITIONS) == partition]
        batch, held = producer.create_batch(), 0
        for tick in range(count // GPUS):
            ms = start_ms + 1000 * tick
            for uuid in ours:
                value = encode(sample(uuid, tick, ms, chance))
                batch.append(timestamp=ms, key=uuid.encode(), value=value)
                held += 1
                if held == AT_A_TIME:
                    await producer.send_batch(batch, TOPIC, partition=partition)
                    batch, held = producer.create_batch(), 0
        await producer.send_batch(batch, TOPIC, partition=partition)
    await producer.stop()


def sample(uuid: str, tick: int, ms: int, chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"ts": ms, "node": f"node-{uuid[-6:]}", "uuid": uuid}
    for field, value in GAUGES.items():
        found[FIELDS[field].name] = value + int(NOISE.get(field, 0) * chance.random())
    found |= {FIELDS[field].name: 0 for field in STILL}
    return found | {FIELDS[field].name: tick for field in MOVING}


def rate_of(argv: list[str]) -> Rate:
    """What a rival's process says of itself."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S)
    for line in done.stdout.splitlines():
        if line.startswith("["):
            return Rate(*json.loads(line))
    raise RuntimeError(f"{' '.join(argv)} came to no result:\n{done.stderr[-2000:]}")
