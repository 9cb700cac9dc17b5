"""Rolling upgrade: two versions of the code, with different columns, take turns at the same partition.

The newer one is this code with one more signal, as another distribution brings it: found by its entry point.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.kafka import wire
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create
from pipeline.log import Entry
from pipeline.topology import STAGES
from processors import checkpoints
from processors.node import STATE_VERSION
from schemas import frames, records, topics
from schemas.fields import ECC_SBE_VOLATILE, GPU_TEMP
from schemas.log import Checkpoint, Record
from schemas.records import Gpu

WAIT_S = 60.0
CLI = [sys.executable, "-c", "from pipeline.cli import main; main()"]
NODE, GPU = "n1", Gpu(uuid="GPU-1", bdf="0000:1b:00")
SIGNAL = '''
import msgspec
import numpy as np
from processors.signal import Signal
from processors.state import Column
from schemas.fields import GPU_TEMP
from schemas.policy import Thresholds


class Warmest(Signal):
    """The highest temperature ever seen."""

    name = "warmest"
    fields = (GPU_TEMP,)
    columns = {"most": Column("f8")}
    quantity = "temperature_c"

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limits: Thresholds = Thresholds(warning=60.0)

    def on_samples(self, wave, state, policy, out):
        most = np.fmax(state.most, wave[GPU_TEMP])
        state.most = most
        out.judge(policy.limits.classes(most), temperature_c=most)
'''


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A directory that brings the signal, for the module path."""
    (tmp_path / "warmest.py").write_text(SIGNAL)
    metadata = tmp_path / "warmest-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: warmest\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[gpu_vitals.signals]\nwarmest = warmest:Warmest\n")
    return tmp_path


class Rolling:
    """One partition, its input, and the worker that has it at the moment."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._seq = 0
        self._epoch_ms = int(time.time() * 1000)

    def say(self, seconds: int, errors: int, temperature: float = 50.0) -> None:
        """So many frames, one a second, at the end of which there were `errors` in all."""
        entries = []
        for _ in range(seconds):
            self._seq += 1
            frame = frames.build(
                node=NODE,
                seq=self._seq,
                epoch=self._epoch_ms,
                gpus=[GPU],
                ticks=[self._epoch_ms - 600_000 + 1000 * self._seq],
                columns={ECC_SBE_VOLATILE: [errors if _ == seconds - 1 else None], GPU_TEMP: [temperature]},
            )
            entries.append(Entry(NODE, frames.KIND, frames.encode(frame)))
        asyncio.run(self._append(entries))

    async def _append(self, entries: Sequence[Entry]) -> None:
        ingress = KafkaIngress(self._kafka)
        await ingress.append(topics.OBSERVATIONS, entries)
        await ingress.close()

    def work(self, path: Path | None, until: dict[str, float]) -> None:
        """Let a worker with `path` on its module path work until the GPU's reasons are those, by signal and value."""
        environment = os.environ | {
            "GPU_VITALS_KAFKA_BOOTSTRAP": self._kafka.bootstrap,
            "GPU_VITALS_KAFKA_PREFIX": self._kafka.prefix,
            "PYTHONPATH": str(path or ""),
        }
        process = subprocess.Popen([*CLI, "worker"], env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + WAIT_S
            while True:
                scores = [each for each in asyncio.run(self.committed(topics.SCORES)) if each.value]
                newest = msgspec.json.decode(scores[-1].value, type=records.Score) if scores else None
                if newest and until == {reason.signal: reason.value for reason in newest.reasons}:
                    return
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
                assert time.monotonic() < deadline, newest
                time.sleep(0.2)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0, errors.decode()

    async def committed(self, topic: str) -> list[Record]:
        consumer = AIOKafkaConsumer(**self._kafka.client(), isolation_level="read_committed", enable_auto_commit=False)
        await consumer.start()
        place = TopicPartition(self._kafka.topic(topic), 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        found: list[Record] = []
        while await consumer.position(place) < end:
            found += [
                wire.record(each) for batch in (await consumer.getmany(timeout_ms=200)).values() for each in batch
            ]
        await consumer.stop()
        return found


def test_versions_with_different_columns_take_turns_and_keep_what_they_share(unmade: Kafka, newer: Path) -> None:
    kafka = msgspec.structs.replace(unmade, partitions=1)
    asyncio.run(create(kafka))
    rolling = Rolling(kafka)

    rolling.say(2, 0)
    rolling.say(2, 60)
    rolling.work(None, {"correctable_ecc": 60.0})

    rolling.say(2, 70, temperature=65.0)
    rolling.work(newer, {"correctable_ecc": 70.0, "warmest": 65.0})

    # What each of them has counted still counts: 60 + 10 + 40 errors are beyond the critical limit of 100 an hour.
    rolling.say(2, 110)
    rolling.work(None, {"correctable_ecc": 110.0})

    origins = [each.origin for each in asyncio.run(rolling.committed(topics.FLEET_EVENTS)) if each.origin]
    places = [(origin.offset, origin.ordinal) for origin in origins if origin.stage == "node"]
    assert places == sorted(set(places)), "no gap and no double over the hand-overs"


def test_a_state_of_another_version_ends_the_worker_with_what_to_do(unmade: Kafka) -> None:
    kafka = msgspec.structs.replace(unmade, partitions=1)
    asyncio.run(create(kafka))
    asyncio.run(_save(kafka, checkpoints.pack(STATE_VERSION - 1, 0, {})))
    environment = os.environ | {"GPU_VITALS_KAFKA_BOOTSTRAP": kafka.bootstrap, "GPU_VITALS_KAFKA_PREFIX": kafka.prefix}
    done = subprocess.run(
        [*CLI, "worker"], env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    was, reads = STATE_VERSION - 1, STATE_VERSION
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        f"error: node/0: checkpoint of version {was}, this code reads version {reads}",
        "  help: go on with the release that has saved it, or have the log read anew",
    ]


async def _save(kafka: Kafka, checkpoint: Checkpoint) -> None:
    part, log = STAGES[0].part(), KafkaLog(kafka)
    await log.restore(part)
    await log.commit(part, [], 0, checkpoint)
    await log.close()
