"""The Faust side of a worker: agents of users get committed records, started by our command or by Faust's own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.kafka import wire
from pipeline.kafka.settings import Kafka
from schemas import records, topics
from schemas.log import Origin
from schemas.states import CaseState, Condition

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0
COMMANDS = (
    [sys.executable, "-c", "from pipeline.cli import main; main()", "worker", "--agents", "my_agents"],
    [sys.executable, "-m", "faust", "-A", "my_agents", "worker", "--without-web"],
)


@pytest.fixture
def my_agents(tmp_path: Path) -> Path:
    """A directory with the documented example, as its reader would save it."""
    page = (ROOT / "docs/kafka/agents.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_agents.py").write_text(code)
    return tmp_path


@pytest.fixture(params=COMMANDS, ids=["gpu-vitals worker", "faust worker"])
def started(request: pytest.FixtureRequest, my_agents: Path, kafka: Kafka) -> Iterator[Path]:
    """A worker with the example in it; yields the file it prints to."""
    out = my_agents / "out"
    environment = os.environ | {
        "GPU_VITALS_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "GPU_VITALS_KAFKA_PREFIX": kafka.prefix,
        "GPU_VITALS_KAFKA_PARTITIONS": str(kafka.partitions),
        "PYTHONPATH": os.pathsep.join([str(my_agents), str(ROOT)]),
    }
    with out.open("wb") as file:
        process = subprocess.Popen(
            request.param, cwd=my_agents, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
    yield out
    process.terminate()
    assert process.wait(WAIT_S) == 0, out.read_text()


def decision(uuid: str, weight: float) -> records.Decision:
    return records.Decision(
        ts=1,
        cluster="c",
        node="n1",
        uuid=uuid,
        weight=weight,
        score=weight,
        condition=Condition.of_score(weight),
        state=CaseState.IN_SERVICE if weight else CaseState.DRAINING,
    )


async def decide(kafka: Kafka, decisions: Sequence[records.Decision], *, commit: bool) -> None:
    producer = AIOKafkaProducer(**kafka.client(), transactional_id="test", compression_type="zstd")
    await producer.start()
    await producer.begin_transaction()
    for number, each in enumerate(decisions):
        headers = wire.headers("decision", Origin("cluster", 0, number, 0))
        await producer.send(kafka.topic(topics.DECISIONS), records.encode(each), each.uuid.encode(), headers=headers)
    await producer.flush()
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()


def test_the_documented_agent_sees_committed_decisions_and_no_others(started: Path, kafka: Kafka) -> None:
    asyncio.run(decide(kafka, [decision("GPU-aborted", 0.0)], commit=False))
    asyncio.run(decide(kafka, [decision("GPU-fine", 1.0), decision("GPU-ill", 0.0)], commit=True))
    deadline = time.monotonic() + WAIT_S
    while "GPU-ill" not in (said := started.read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    assert "n1 GPU-ill draining" in said
    assert "GPU-aborted" not in said
    assert "GPU-fine" not in said
