"""`gpu-vitals commands` and an agent, both as processes, with a real Kafka between them."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from pipeline.kafka import reading
from pipeline.kafka.settings import Kafka
from pipeline.node_commands.keys import public_keys
from producers.driver import boot_id
from schemas import records
from schemas.commands import is_authentic
from schemas.topics import COMMANDS, INVENTORY, OBSERVATIONS
from scripts.kafka_broker import free_port
from tests.producers.commands.standins import BDF, UUID, Machine

AGENT = """
import sys
from pathlib import Path
from tests.producers.commands.standins import Machine
Machine(Path(sys.argv.pop(1))).use()
from pipeline.cli import main
main()
"""


def gpu_vitals(*arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def keys(tmp_path):
    """(private file, public file)."""
    private, public = tmp_path / "ops.key", tmp_path / "keys.toml"
    public.write_text(gpu_vitals("commands", "keygen", "--id", "ops", "--out", str(private)))
    public.chmod(0o644)
    return str(private), str(public)


class Process:
    def __init__(self, directory, kafka, public, enabled):
        self.machine = Machine(directory)
        self.kafka = kafka
        self.port = free_port()
        log = directory / "kernel.log"
        log.touch()
        environment = {
            "GPU_VITALS_AGENT_SPOOL_DIR": str(directory / "spool"),
            "GPU_VITALS_COMMANDS_ENABLED": str(enabled).lower(),
            "GPU_VITALS_COMMANDS_KEYS": public,
            "GPU_VITALS_COMMANDS_NVIDIA_SMI": self.machine.programs.nvidia_smi,
        }
        options = ["--node", "n1", "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix]
        options += ["--source", f"kernel-log:{log}", "--follow", "--listen", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(directory), "agent", *options],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def page(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.read().decode()

    def send(self, key, *more, node="n1"):
        options = ["--key", key, "--boot", boot_id(), "--bdf", BDF, "--author", "me"]
        options += ["--bootstrap", self.kafka.bootstrap, "--prefix", self.kafka.prefix]
        return gpu_vitals("commands", "send", node, *more, *options).strip()

    def results(self, id_, enough):
        """What the agent has answered to a command, once that is so much."""
        deadline = time.monotonic() + 60
        while len(found := [each for each in asyncio.run(answers(self.kafka)) if each.id == id_]) < enough:
            assert time.monotonic() < deadline, found
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.2)
        return found


async def read(kafka, topic):
    places = (await reading.partitions(kafka, topic))[topic]
    found = []
    async with reading.opened(kafka) as reader:
        async for _, messages in reader.read(await reader.kept(places)):
            found += messages
    return [(message.key, message.value) for message in found]


async def put(kafka, topic, key, value):
    producer = AIOKafkaProducer(**kafka.client())
    await producer.start()
    try:
        await producer.send_and_wait(kafka.topic(topic), value, key.encode())
    finally:
        await producer.stop()


async def answers(kafka):
    values = [value for _, value in await read(kafka, OBSERVATIONS) if value and b'"command-result"' in value]
    return [msgspec.json.decode(value, type=records.CommandResult) for value in values]


@contextmanager
def agent(directory, kafka, public, enabled):
    started = Process(directory, kafka, public, enabled)
    try:
        deadline = time.monotonic() + 60
        while "reads" not in (said := ready(started)):
            assert time.monotonic() < deadline, said
            assert started.process.poll() is None, started.process.communicate()
            time.sleep(0.1)
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def ready(started):
    """Whether it reads commands: its first position is in the spool then, which is seen by an answer only."""
    try:
        return "reads" if "gpu_vitals_source_up{" in started.page("/metrics") else "starts"
    except OSError:
        return "does not listen"


def heard(started, key):
    """What is sent before an agent's first connection is left alone: ask it something until it answers."""
    for _ in range(30):
        started.send(key, "cancel", "--command", "none")
        time.sleep(0.5)
        if asyncio.run(answers(started.kafka)):
            return
    raise AssertionError("the agent hears nothing")


def test_a_signed_reset_reaches_the_gpu_and_its_result_comes_back(tmp_path, kafka: Kafka, keys):
    private, public = keys
    with agent(tmp_path, kafka, public, enabled=True) as started:
        heard(started, private)
        id_ = started.send(private, "reset", "--gpu", UUID)
        results = started.results(id_, 2)
        assert [(result.id, result.state, result.author) for result in results] == [
            (id_, "started", "me"),
            (id_, "done", "me"),
        ]
        assert started.machine.resets() == [f"--gpu-reset -i {UUID}"]
        assert json.loads(started.page("/healthz"))["commands"] == "done, when signed by ops"
        assert 'gpu_vitals_command_results_total{reason="",state="done"} 1.0' in started.page("/metrics")


def test_without_being_enabled_it_verifies_and_answers_and_does_nothing(tmp_path, kafka: Kafka, keys):
    private, public = keys
    with agent(tmp_path, kafka, public, enabled=False) as started:
        heard(started, private)
        id_ = started.send(private, "reset", "--gpu", UUID)
        (result,) = started.results(id_, 1)
        assert (result.id, result.state) == (id_, "dry-run")
        assert started.machine.resets() == []
        assert json.loads(started.page("/healthz"))["commands"].startswith("dry run")
        assert "gpu_vitals_commands_enabled 0.0" in started.page("/metrics")


def test_the_inventory_says_boot_and_address_and_that_there_is_no_such_gpu(kafka: Kafka, keys):
    private, public = keys
    options = ["--key", private, "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix]
    told = gpu_vitals("commands", "send", "n1", "reset", "--gpu", UUID, *options, code=2)
    assert "node n1 has told no inventory" in told

    listed = [records.GpuInfo(uuid=UUID, bdf=BDF)]
    inventory = records.Inventory(ts=1, node="n1", gpus=listed, boot="b7")
    asyncio.run(put(kafka, INVENTORY, "n1", records.encode(inventory)))
    told = gpu_vitals("commands", "send", "n1", "reset", "--gpu", "GPU-x", *options, code=2)
    assert f"it has {UUID}" in told
    gpu_vitals("commands", "send", "n1", "diagnose", "--level", "3", "--gpu", UUID, "--case", "inc", *options)
    ((key, value),) = asyncio.run(read(kafka, COMMANDS))
    sent = msgspec.json.decode(value, type=records.Command)
    assert (key, sent.node, sent.boot, sent.bdf, sent.parameters) == (b"n1", "n1", "b7", BDF, {"level": 3})
    assert sent.expires - sent.ts == 600_000
    assert (sent.case, sent.key_id, sent.author) == ("inc", "ops", getpass.getuser())
    assert is_authentic(sent, public_keys(public)["ops"].public)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reset"], "--gpu goes with reset"),
        (["cancel"], "--command goes with cancel"),
        (["reset", "--gpu", UUID, "--expires", "2h"], "not between 0 and an hour"),
    ],
)
def test_what_no_node_would_do_is_not_even_sent(keys, arguments, words):
    assert words in gpu_vitals("commands", "send", "n1", *arguments, "--key", keys[0], code=2)
