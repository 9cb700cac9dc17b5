"""kill -9 of everything at random moments, on a real Kafka: what is committed is what an undisturbed run says, once.

Agents, workers of both stages, a sink and the broker die and come back; workers join, leave and freeze. KILLS says
how often (CI and by hand a few, `make chaos` 200 times); a failure prints the seed of what was drawn.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.archive_log import ArchiveLog
from pipeline.kafka import checkpoints, wire
from pipeline.kafka.offsets import Offsets
from pipeline.kafka.settings import Kafka
from pipeline.kafka.topics import create, wanted
from pipeline.runner import run_task
from pipeline.topology import STAGES, Stage
from schemas import frames, topics
from schemas.log import Output, Part, Record
from scripts.kafka_broker import Broker

pytestmark = pytest.mark.timeout(3600)

KILLS = int(os.environ.get("KILLS", 16))
PARTITIONS = 3
CLI = [sys.executable, "-c", "from pipeline.cli import main; main()"]
XID = "[{at:9.3f}] NVRM: Xid (PCI:0000:1b:00): 79, pid=1, name=x, GPU has fallen off the bus. {number}\n"


class Process:
    """One process of the deployment, started again by the same command."""

    def __init__(self, directory: Path, kafka: Kafka, name: str, *arguments: str) -> None:
        options = ["--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix]
        self.name = name
        self._argv = [*CLI, *arguments, *options]
        self._out = directory / f"{name}.out"
        self._errors = directory / f"{name}.err"
        self._environment = os.environ | {
            "GPU_VITALS_KAFKA_PARTITIONS": str(kafka.partitions),
            "GPU_VITALS_KAFKA_SESSION_TIMEOUT_S": str(kafka.session_timeout_s),
            "GPU_VITALS_AGENT_SPOOL_DIR": str(directory / f"{name}.spool"),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        if self._process is None:
            with self._out.open("ab") as out, self._errors.open("ab") as errors:
                self._process = subprocess.Popen(
                    self._argv, stdout=out, stderr=errors, stdin=subprocess.DEVNULL, env=self._environment
                )

    def signal(self, which: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(which)

    def end(self, how: signal.Signals) -> None:
        """SIGTERM: it must end by itself, in order, or before it has begun."""
        self.check()
        if self._process:
            self._process.send_signal(how)
            self._process.wait(60)
            code, self._process = self._process.returncode, None
            assert code in (0, -how), f"{self.name}: {code}\n{self.errors()}"

    def check(self) -> None:
        """It has not died by itself, unless Faust has lost its broker: then it is started again, as by an init."""
        if self._process and self._process.poll() is not None:
            assert "KafkaConnectionError" in self.errors(), f"{self.name} has ended:\n{self.errors()}"
            self._process = None
            self.start()

    def errors(self) -> str:
        return self._errors.read_text()[-4000:]

    def output(self) -> bytes:
        return self._out.read_bytes()


class Deployment:
    """All processes, and the kernel log of one node, which grows."""

    def __init__(self, directory: Path, kafka: Kafka, broker: Broker) -> None:
        made = partial(Process, directory, kafka)
        self.kernel_log = directory / "kernel.log"
        self.kernel_log.touch()
        self.lines = 0
        log = ["--source", f"kernel-log:{self.kernel_log}", "--follow", "--node", "kernel-node"]
        self.broker = broker
        self.agents = [
            made("simulated", "agent", "--source", "simulator:48", "--speed", "5"),
            made("kernel", "agent", *log),
        ]
        self.workers = [
            made(f"{stage}-{number}", "worker", "--stage", stage, "--instance", f"{stage}-{number}")
            for stage, count in (("node", 3), ("cluster", 2))
            for number in range(count)
        ]
        self.sink = made("stream", "sink", "stream")

    @property
    def processes(self) -> list[Process]:
        return [*self.agents, *self.workers, self.sink]

    def wait_for(self, true: Callable[[], bool], within_s: float = 300.0) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            for process in self.processes:
                process.check()
            assert time.monotonic() < deadline, "\n".join(process.errors() for process in self.processes)
            time.sleep(0.5)

    def shown(self) -> list[int]:
        """The offsets of the decisions that the sink has printed, again where it was killed."""
        return [json.loads(line)["offset"] for line in self.sink.output().splitlines() if line.endswith(b"}")]

    def say(self) -> None:
        """The kernel prints a line."""
        with self.kernel_log.open("a") as log:
            log.write(XID.format(at=time.monotonic(), number=f"line {self.lines}"))
        self.lines += 1

    def disturb(self, draw: random.Random) -> None:
        """Kill or freeze something, and let it come back; sometimes only after others have taken over."""
        self.say()
        if draw.random() < 0.1:
            self.broker.kill()
            time.sleep(draw.uniform(0.0, 2.0))
            self.broker.start()
            return
        victim = draw.choice([each for each in self.processes if each.runs])
        if victim in self.workers and draw.random() < 0.2:
            victim.signal(signal.SIGSTOP)  # a zombie: it comes back and believes that all is as it was
            time.sleep(draw.uniform(1.5, 5.0))
            victim.signal(signal.SIGCONT)
        elif victim in self.workers and draw.random() < 0.2:
            victim.end(signal.SIGTERM)  # leaves, and stays away for a while
        else:
            victim.end(signal.SIGKILL)
        time.sleep(draw.uniform(0.0, 1.0))
        absent = [each for each in self.processes if not each.runs]
        for each in absent if draw.random() < 0.8 else absent[:-1]:
            each.start()
        time.sleep(draw.uniform(0.0, 1.5))


def test_whatever_dies_committed_outputs_are_those_of_an_undisturbed_run(tmp_path: Path, own_broker: Broker) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, prefix="audit.", partitions=PARTITIONS, session_timeout_s=2.0)
    asyncio.run(made(kafka))
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    draw = random.Random(seed)
    deployment = Deployment(tmp_path, kafka, own_broker)
    try:
        for process in deployment.processes:
            process.start()
        time.sleep(6.0)
        for _ in range(KILLS):
            deployment.disturb(draw)
            for process in deployment.processes:
                process.check()
        for process in deployment.processes:
            process.start()
        deployment.wait_for(lambda: len(asyncio.run(kernel_lines(kafka))) == deployment.lines)
        for agent in deployment.agents:
            agent.end(signal.SIGTERM)
        asyncio.run(stepped(kafka))
        decided = [
            record.offset for record in asyncio.run(committed_records(kafka, topics.DECISIONS, 0)) if record.value
        ]
        deployment.wait_for(lambda: deployment.shown()[-1:] == decided[-1:])
        for process in deployment.processes:
            process.end(signal.SIGTERM)
    finally:
        for process in deployment.processes:
            process.signal(signal.SIGKILL)
    asyncio.run(audit(kafka, deployment))


async def made(kafka: Kafka) -> None:
    """Topics that forget nothing, so that all can be held against a rerun."""
    await create(kafka)
    admin = AIOKafkaAdminClient(**kafka.client())
    await admin.start()
    configs = {"cleanup.policy": "delete", "retention.ms": "-1"}
    kept = [each.name for each in wanted(kafka) if each.topic is not topics.STATES]
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs) for name in kept])
    await admin.close()


async def stepped(kafka: Kafka, within_s: float = 300.0) -> None:
    """Wait until what is on the inputs is committed by the stages, but for the newest ticks."""
    last: dict[Part, int] = {}
    async with asyncio.timeout(within_s):
        for stage in STAGES:
            for part in parts(kafka, stage):
                records = await committed_records(kafka, part.topic, part.partition)
                last[part] = records[-1].offset if records else -1
                while await position(kafka, part) <= last[part]:
                    await asyncio.sleep(0.2)


def parts(kafka: Kafka, stage: Stage) -> list[Part]:
    count = kafka.partitions if topics.TOPICS[stage.input].spread else 1
    return [stage.part(partition) for partition in range(count)]


async def position(kafka: Kafka, part: Part) -> int:
    offsets = Offsets(kafka)
    place = TopicPartition(kafka.topic(part.topic), part.partition)
    found = await offsets.committed(kafka.group(part.stage), place)
    await offsets.close()
    return found.offset if found else 0


async def committed_records(kafka: Kafka, topic: str, partition: int) -> list[Record]:
    consumer = AIOKafkaConsumer(**kafka.client(), isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    place = TopicPartition(kafka.topic(topic), partition)
    consumer.assign([place])
    await consumer.seek_to_beginning(place)
    end = (await consumer.end_offsets([place]))[place]
    found: list[Record] = []
    while await consumer.position(place) < end:
        for messages in (await consumer.getmany(timeout_ms=500)).values():
            found += [wire.record(message) for message in messages]
    await consumer.stop()
    return found


class Said(NamedTuple):
    """An output as readers see it, and where it comes from."""

    offset: int
    ordinal: int
    topic: str
    key: str
    kind: str
    value: bytes
    ts: int


async def audit(kafka: Kafka, deployment: Deployment) -> None:
    said: dict[tuple[str, int], list[Said]] = defaultdict(list)
    for name in {topic for stage in STAGES for topic in stage.outputs}:
        for record in await committed_records(kafka, name, 0):
            origin = record.origin
            assert origin, f"{name}: a record without an origin"
            said[origin.stage, origin.partition].append(
                Said(origin.offset, origin.ordinal, name, record.key, record.kind, record.value, record.ts)
            )
    for stage in STAGES:
        for part in parts(kafka, stage):
            committed = await position(kafka, part)
            given = [
                each for each in await committed_records(kafka, part.topic, part.partition) if each.offset < committed
            ]
            outputs, state = await undisturbed(stage, part, given)
            expected = [Said(o.offset, o.ordinal, o.topic, o.key, o.kind, o.value, o.ts) for o in outputs]
            found = sorted(said[part.stage, part.partition])
            assert found == expected, f"{part}: {first_difference(found, expected)}"
            saved = await checkpoints.newest(kafka, part)
            assert saved, f"{part}: no state"
            assert saved[0].next_offset == committed, f"{part}: saved at its end"
            assert saved[0].data == state, f"{part}: another state"
            print(f"{part.stage}/{part.partition}: {len(given)} inputs, {len(expected)} outputs, equal")
    assert said["cluster", 0], "there were decisions"
    await check_inputs(kafka, deployment)
    check_stream(deployment.shown(), await committed_records(kafka, topics.DECISIONS, 0))


async def undisturbed(stage: Stage, part: Part, given: Sequence[Record]) -> tuple[list[Output], bytes]:
    """What the stage makes of `given` in one go: its outputs and its state."""
    outputs: list[Output] = []
    log = ArchiveLog({part: given}, {}, lambda _, more: outputs.extend(more))
    task = await run_task(part, partial(stage.make, part.partition), log, commit_s=0.0)
    return outputs, task.checkpoint().data


def first_difference(found: Sequence[Said], expected: Sequence[Said]) -> str:
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return f"output {number}: committed {one}, rerun {other}"
    return f"{len(found)} committed, {len(expected)} in the rerun"


async def check_inputs(kafka: Kafka, deployment: Deployment) -> None:
    """Every frame and every kernel line that was said is on the log."""
    numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for partition in range(kafka.partitions):
        for record in await committed_records(kafka, topics.OBSERVATIONS, partition):
            if record.kind == frames.KIND:
                frame = frames.decode(record.value)
                numbers[frame.node, frame.epoch].add(frame.seq)
    assert numbers
    for node, seen in numbers.items():
        assert seen == set(range(min(seen), max(seen) + 1)), f"{node}: frames are missing"
    assert await kernel_lines(kafka) == {f"line {number}" for number in range(deployment.lines)}


async def kernel_lines(kafka: Kafka) -> set[str]:
    """What the kernel has printed, as far as it is on the log."""
    found: set[str] = set()
    for partition in range(kafka.partitions):
        for record in await committed_records(kafka, topics.OBSERVATIONS, partition):
            if record.kind == "kernel" and record.key == "kernel-node":
                found.add(json.loads(record.value)["raw"].rpartition("bus. ")[2])
    return found


def check_stream(seen: Sequence[int], decisions: Sequence[Record]) -> None:
    """A reader that was killed again and again has seen every decision, in order, but for what came twice."""
    fresh = [offset for number, offset in enumerate(seen) if offset > max(seen[:number], default=-1)]
    assert fresh == [record.offset for record in decisions if record.value]
