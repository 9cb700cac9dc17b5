"""kill -9 of an agent at random moments, on a real Kafka, which dies now and then as well: no fault is lost or doubled.

KILLS says how often: a few by default, 200 in the long run.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from pipeline.kafka import reading, topics, wire
from pipeline.kafka.settings import Kafka
from pipeline.settings import Settings
from pipeline.spool.settings import AgentSettings
from schemas import frames, records
from schemas.log import Record
from schemas.topics import OBSERVATIONS
from scripts.kafka_broker import Broker

pytestmark = pytest.mark.timeout(1800)

KILLS = int(os.environ.get("KILLS", 40))
LIVES_S = 0.3, 1.2  # an agent needs about half a second until it says something
PER_S = 200
BROKER_TOO = 10  # one in so many
SCRIPT = Path(__file__).with_name("scripted_agent.py")
ROOT = Path(__file__).parents[3]


def test_kills_lose_no_fault_and_double_none(own_broker: Broker, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=2)
    asyncio.run(topics.create(kafka))
    spool = AgentSettings(spool_dir=str(tmp_path / "spool"))
    settings = msgspec.json.encode(Settings(node="n1", kafka=kafka, agent=spool)).decode()
    faults = int(KILLS * PER_S * 0.4)
    argv = [sys.executable, str(SCRIPT), settings, str(faults), str(PER_S)]
    errors = tmp_path / "errors"

    def agent() -> subprocess.Popen[bytes]:
        with errors.open("ab") as out:
            return subprocess.Popen(argv, stderr=out, env=os.environ | {"PYTHONPATH": str(ROOT)})

    for _ in range(KILLS):
        running = agent()
        if draw.randrange(BROKER_TOO) == 0:
            own_broker.kill()
            time.sleep(draw.uniform(*LIVES_S))
            own_broker.start()
        time.sleep(draw.uniform(*LIVES_S))
        assert running.poll() in (None, 0), errors.read_text()
        running.kill()
        running.wait()
    assert agent().wait(1200) == 0, errors.read_text()

    said = asyncio.run(observations(kafka))
    found = judged(said)
    wanted = [f"{source} {number}" for source in ("one", "two") for number in range(1, faults + 1)]
    assert sorted(found) == sorted(wanted)
    for source in ("one", "two"):
        numbers = [int(each.split()[1]) for each in found if each.startswith(source)]
        assert numbers == sorted(numbers), "in the order in which they were said"
    assert not list((tmp_path / "spool").glob("*.half"))


async def observations(kafka: Kafka) -> list[Record]:
    found: list[Record] = []
    places = (await reading.partitions(kafka, OBSERVATIONS))[OBSERVATIONS]
    async with reading.opened(kafka) as reader:
        async for _, messages in reader.read(await reader.kept(places)):
            found += map(wire.record, messages)
    return found


def judged(said: list[Record]) -> list[str]:
    """The faults that are left when doubles are dropped as stages do it: by epoch and number, each lane apart."""
    epoch, newest, found = 0, {"fault": 0, "telemetry": 0}, []
    for record in said:
        telemetry = record.kind == frames.KIND
        lane = "telemetry" if telemetry else "fault"
        value = frames.decode(record.value) if telemetry else msgspec.json.decode(record.value, type=records.Observed)
        assert value.epoch
        assert value.seq
        if value.epoch > epoch:
            epoch, newest = value.epoch, {"fault": 0, "telemetry": 0}
        if value.epoch < epoch or value.seq <= newest[lane]:
            continue
        newest[lane] = value.seq
        if isinstance(value, records.KernelFault):
            found.append(value.message)
    return found
