"""All that takes part in an eviction, as processes that can be killed and started again, and what they say on Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec
from aiokafka import AIOKafkaConsumer

from pipeline.clock import wall_ms
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from pipeline.node_commands.keys import PrivateKey, public_stanza, write_private
from schemas import records, topics
from schemas.signing import public_half
from scripts.kafka_broker import free_port
from tests.pipeline.kafka.eviction_node import NODE, machine
from tests.pipeline.node_commands.scripted_desk import PRIVATE
from tests.producers.commands.standins import OTHER, UUID

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 90.0
XID = "{at} {node} kernel: NVRM: Xid (PCI:0000:1b:00): 61, pid=1, name=x, 0cec(3098) 00000000 00000000\n"
# Short times, so that a case takes seconds, but where a busy machine could miss one: what is forced has to have ended.
DRAIN_S = 4.0
POLICY = """
[node]
improve_after_s = 1.0
[cluster]
drain_timeout_s = {drain_timeout_s}
[cluster.workflow]
enabled = true
acknowledged = true
force_timeout_s = 20.0
probation_s = 1.0
attempts_max = 100
cool_down_s = 0.0
"""
T = TypeVar("T")


class Process:
    """One process, started again by the same command."""

    def __init__(self, directory: Path, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._argv = argv
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._directory = directory
        self._log = directory / f"{name}.err"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment, cwd=self._directory
            )

    def end(self, how: signal.Signals) -> None:
        if self._process:
            self.check()
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def check(self) -> None:
        """It has not died by itself."""
        code = self._process.poll() if self._process else None
        assert code is None, f"{self.name} has ended with {code}:\n{self.said()}"

    def said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def abandon(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


class Follower(threading.Thread):
    """What is committed to the topics, in the order of each, as it comes."""

    def __init__(self, kafka: Kafka) -> None:
        super().__init__(daemon=True)
        self.evictions: list[records.Eviction] = []
        self.decisions: list[records.Decision] = []
        self.results: list[records.CommandResult] = []
        self.gone: list[str] = []  # keys of decisions that were taken back
        self._kafka = kafka
        self._over = threading.Event()

    def run(self) -> None:
        asyncio.run(self._follow())

    def end(self) -> None:
        self._over.set()
        if self.is_alive():
            self.join()

    async def _follow(self) -> None:
        names = [self._kafka.topic(name) for name in (topics.EVICTIONS, topics.DECISIONS, topics.OBSERVATIONS)]
        reader = AIOKafkaConsumer(
            *names, **self._kafka.client(), auto_offset_reset="earliest", isolation_level="read_committed"
        )
        await reader.start()
        try:
            while not self._over.is_set():
                for messages in (await reader.getmany(timeout_ms=100)).values():
                    for message in messages:
                        self._take(message)
        finally:
            await reader.stop()

    def _take(self, message: Any) -> None:
        kind = dict(message.headers).get("kind", b"").decode()
        if message.topic == self._kafka.topic(topics.DECISIONS) and not message.value:
            self.gone.append(message.key.decode())
        elif kind == "eviction":
            self.evictions.append(msgspec.json.decode(message.value, type=records.Eviction))
        elif kind == "decision":
            self.decisions.append(msgspec.json.decode(message.value, type=records.Decision))
        elif kind == "command-result":
            self.results.append(msgspec.json.decode(message.value, type=records.CommandResult))


class World:
    """kafka: with all topics, that forget nothing. One node with two GPUs; what is done is done to the first."""

    def __init__(self, directory: Path, kafka: Kafka) -> None:
        self.kafka = kafka
        self.machine = machine(directory)
        self.told = Follower(kafka)
        self.resets = 0  # that cases which are over account for
        self._directory = directory
        self._kernel_log = directory / "kernel.log"
        self._kernel_log.touch()
        self._port = free_port()
        self.processes = {each.name: each for each in self._made()}

    def start(self) -> None:
        self.apply(DRAIN_S)
        self.told.start()
        for process in self.processes.values():
            process.start()
        self.wait_for(lambda: {*self.weights().items()} == {(UUID, 1.0), (OTHER, 1.0)})
        self.wait_for(lambda: self.gpu() and True)

    def stop(self) -> None:
        for process in self.processes.values():
            process.abandon()
        self.told.end()

    def kill(self, name: str, away_s: float = 0.0) -> None:
        process = self.processes[name]
        process.end(signal.SIGKILL)
        time.sleep(away_s)
        process.start()

    def wait_for(self, true: Callable[[], T], within_s: float = WAIT_S) -> T:
        deadline = time.monotonic() + within_s
        while not (found := true()):
            for process in self.processes.values():
                process.check()
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.02)
        return found

    def story(self) -> str:
        """For people who look at a failure."""
        cases = [f"{each.step} {each.detail} | waits: {each.waits}" for each in self.told.evictions[-12:]]
        results = [f"{each.id} {each.state} {each.reason} {each.detail}" for each in self.told.results[-6:]]
        logs = [f"--- {name}\n{each.said()}" for name, each in self.processes.items()]
        return "\n".join(["waited in vain", *cases, *results, *self.machine.resets()[-3:], *logs])

    # --- what happens there ---------------------------------------------------------------------------------

    def apply(self, drain_timeout_s: float) -> None:
        """A policy by which the cases that are opened from now on are judged."""
        policy = self._directory / "quick.toml"
        policy.write_text(POLICY.format(drain_timeout_s=drain_timeout_s))
        apply = [sys.executable, "-m", "pipeline", "policy", "apply", str(policy)]
        subprocess.run(apply, check=True, env=os.environ | self._environment(), cwd=ROOT)

    def fail(self) -> None:
        """The kernel prints an Xid that evicts, softly, and asks for a reset."""
        with self._kernel_log.open("a") as log:
            log.write(XID.format(at=datetime.now(UTC).isoformat(timespec="milliseconds"), node=NODE))

    def operate(self, action: str) -> None:
        word = records.Operator(ts=wall_ms(), node=NODE, action=action, uuid=UUID, author="ann")

        async def send() -> None:
            ingress = KafkaIngress(self.kafka)
            await ingress.append(topics.OBSERVATIONS, [Entry(NODE, "operator", records.encode(word))])
            await ingress.close()

        asyncio.run(send())

    # --- the scheduler --------------------------------------------------------------------------------------

    def ask(self, method: str, path: str) -> Any:
        """None: it is not there now, or has no answer."""
        try:
            with urlopen(Request(f"http://127.0.0.1:{self._port}{path}", method=method), timeout=WAIT_S) as answer:
                return json.load(answer)
        except HTTPError as error:
            error.close()
            return None
        except OSError:
            return None

    def gpu(self) -> Any:
        """How the scheduler has the GPU."""
        found = self.ask("GET", f"/v1/gpus?uuid={UUID}")
        return found and found["gpus"][0]

    def begin(self, count: int) -> list[int]:
        """So many requests, and more until one runs on the GPU; returns those that do. Those of before have ended."""
        for number in self.ask("GET", "/requests"):
            self.ask("DELETE", f"/requests/{number}")
        mine: list[int] = []
        while count > 0 or not mine:
            begun = self.ask("POST", "/requests")
            mine += [begun["id"]] if begun["uuid"] == UUID else []
            count -= 1
        return mine

    # --- how it stands --------------------------------------------------------------------------------------

    def said(self, at: int) -> records.Eviction:
        """Record number `at` of `evictions`, once it is there."""
        self.wait_for(lambda: len(self.told.evictions) > at)
        return self.told.evictions[at]

    def weights(self) -> dict[str, float]:
        return {each.uuid: each.weight for each in self.told.decisions}

    # --- what it is made of ---------------------------------------------------------------------------------

    def _made(self) -> list[Process]:
        gpu_vitals = [sys.executable, "-m", "pipeline"]
        node = [sys.executable, "-m", "tests.pipeline.kafka.eviction_node", str(self._directory)]
        sources = ["--source", "nvml", "--source", f"kernel-log:{self._kernel_log}", "--follow"]
        example = [sys.executable, str(ROOT / "docs/examples/scheduler.py"), "--listen", str(self._port)]
        gpus = [f"{NODE}/{uuid}" for uuid in (UUID, OTHER)]
        commands = {
            "worker": [*gpu_vitals, "worker", "--instance", "worker-0"],
            "commander": [*gpu_vitals, "sink", "commander"],
            "adapter": [*gpu_vitals, "sink", "scheduler"],
            "scheduler": [*example, "--holds", str(self._directory / "holds.json"), *gpus],
            "agent": [*node, "agent", "--node", NODE, *sources],
        }
        environment = self._environment()
        return [Process(self._directory, name, argv, environment) for name, argv in commands.items()]

    def _environment(self) -> dict[str, str]:
        private, public = self._directory / "ops.key", self._directory / "keys.toml"
        if not private.exists():
            write_private(str(private), PrivateKey("ops", PRIVATE))
            public.write_text(public_stanza("ops", public_half(PRIVATE)))
            public.chmod(0o644)
        said = {
            "KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "KAFKA_PREFIX": self.kafka.prefix,
            "KAFKA_PARTITIONS": str(self.kafka.partitions),
            "KAFKA_SESSION_TIMEOUT_S": str(self.kafka.session_timeout_s),
            "AGENT_SPOOL_DIR": str(self._directory / "spool"),
            "COMMANDS_ENABLED": "true",
            "COMMANDS_KEYS": str(public),
            "COMMANDS_NVIDIA_SMI": self.machine.programs.nvidia_smi,
            "COMMANDS_DCGMI": self.machine.programs.dcgmi,
            "COMMANDER_ENABLED": "true",
            "COMMANDER_KEY": str(private),
            "SCHEDULER_ENABLED": "true",
            "SCHEDULER_TO": "http",
            "SCHEDULER_URL": f"http://127.0.0.1:{self._port}",
        }
        return {f"GPU_VITALS_{name}": value for name, value in said.items()}
