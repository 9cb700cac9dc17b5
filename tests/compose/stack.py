"""The processes that compose/compose.yaml declares, started by hand: its commands, its settings, its health checks.

Only what names another machine is replaced: hosts by loopback, ports by free ones, the settings file by a copy.
Services of the profile `act` get what docs/kafka/deploying.md has operators add to it, with the example scheduler.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import yaml

from pipeline.node_commands.keys import PrivateKey, write_private
from scripts import kafka_broker

COMPOSE = Path(__file__).parents[2] / "compose"
DEPLOYING = COMPOSE.parent / "docs" / "kafka" / "deploying.md"
EXAMPLE = COMPOSE.parent / "docs" / "examples" / "scheduler.py"
DOCUMENTED_URL = "https://scheduler.example"
KEY, TOKEN = "ops-2026.key", "token"  # as the page names them
SETTINGS_FILE = "/etc/gpu-vitals/gpu-vitals.toml"
BROKER_ADDRESS = "kafka:19092"
NO_SETTINGS = {"CLUSTER_ID", "KAFKA_HEAP_OPTS", "KAFKA_LOG_DIRS"}  # of the image, not of the broker
START_S = 180.0


class Process(NamedTuple):
    """One container's process. port: where it listens here; 0: nowhere. inside: where it does in the container."""

    service: str
    popen: subprocess.Popen[bytes]
    port: int
    inside: int
    declared: dict[str, Any]
    log: Path

    def get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return answer.read().decode()

    def healthy(self) -> bool:
        """What the service's own health check says."""
        kind, program, *arguments = self.declared["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        arguments = [each.replace(f":{self.inside}/", f":{self.port}/") for each in arguments]
        return subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60).returncode == 0

    def stop(self) -> int:
        """Its exit status; raises TimeoutExpired where Docker would kill it."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout=int(self.declared["stop_grace_period"].removesuffix("s")))


class Stack:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.declared = yaml.safe_load((COMPOSE / "compose.yaml").read_text("utf-8"))["services"]
        self.processes: list[Process] = []
        self.broker = self._broker()
        settings = (COMPOSE / "gpu-vitals.toml").read_text("utf-8")
        assert BROKER_ADDRESS in settings
        self._shipped = settings.replace(BROKER_ADDRESS, self.broker.bootstrap)
        self._scheduler_port = kafka_broker.free_port()
        self._numbers = itertools.count()
        self._helpers: list[subprocess.Popen[bytes]] = []

    def acting(self) -> str:
        """The settings as the page has operators extend them: still a dry run."""
        page = DEPLOYING.read_text("utf-8")
        [tables] = re.findall(r"^```toml\n(\[commander\]\n.+?)^```$", page, re.MULTILINE | re.DOTALL)
        assert DOCUMENTED_URL in tables
        return f"{self._shipped}\n{tables.replace(DOCUMENTED_URL, f'http://127.0.0.1:{self._scheduler_port}')}"

    def of(self, service: str) -> list[Process]:
        return [each for each in self.processes if each.service == service]

    def start(self) -> None:
        """Everything of ours; first what the others wait for."""
        self.broker.start()
        self._outside()
        ours = {name: each for name, each in self.declared.items() if each["image"].startswith("gpu-vitals:")}
        waited_for = {
            name
            for each in ours.values()
            for name, how in each["depends_on"].items()
            if how["condition"] == "service_completed_successfully"
        }
        for name in waited_for:
            process = self.run(name)
            assert process.popen.wait(timeout=START_S) == 0, process.log.read_text()
        for name in ours.keys() - waited_for:
            for _ in range(ours[name]["deploy"].get("replicas", 1)):
                self.processes.append(self.run(name))

    def end(self) -> None:
        for popen in (*self._helpers, *(process.popen for process in self.processes)):
            popen.kill()
            popen.wait()
        self.broker.kill()

    def run(self, service: str, settings: str | None = None) -> Process:
        """settings: else the shipped ones, or those of the page where the service is one that acts."""
        declared = self.declared[service]
        if settings is None:
            settings = self.acting() if "act" in declared.get("profiles", []) else self._shipped
        for volume in declared.get("volumes", []):
            source, target, *_ = volume.split(":")
            settings = settings.replace(f"{target}/", f"{self._directory / source}/")
        entry_point = shlex.split(" ".join(re.findall(r'^ENTRYPOINT \["(.+)"\]$', dockerfile(), re.MULTILINE)))
        assert entry_point == ["gpu-vitals"]
        port = inside = 0
        name = f"{service}-{next(self._numbers)}"
        settings_file, log = (self._directory / f"{name}.{kind}" for kind in ("toml", "log"))
        settings_file.write_text(settings)
        arguments = []
        for word in declared["command"]:
            if listens := re.fullmatch(r"0\.0\.0\.0:(\d+)", word):
                port, inside = kafka_broker.free_port(), int(listens[1])
                word = f"127.0.0.1:{port}"
            arguments.append(str(settings_file) if word == SETTINGS_FILE else word)
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._directory,
                env={**os.environ, "GPU_VITALS_AGENT_SPOOL_DIR": str(self._directory / "spool")},  # a container's own
            )
        return Process(service, popen, port, inside, declared, log)

    def _outside(self) -> None:
        """What operators bring: a key, a scheduler and its token."""
        secrets = self._directory / "secrets"
        for service in ("commander", "scheduler"):
            (secrets / service).mkdir(parents=True)
        write_private(str(secrets / "commander" / KEY), PrivateKey("ops-2026", bytes(range(32))))
        token = secrets / "scheduler" / TOKEN
        token.write_text("of the scheduler")
        command = [sys.executable, str(EXAMPLE), "--listen", str(self._scheduler_port), "--token-file", str(token)]
        command += ["--holds", str(self._directory / "holds.json"), "node-0/GPU-0"]
        with (self._directory / "scheduler.log").open("wb") as out:
            self._helpers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out))

    def _broker(self) -> kafka_broker.Broker:
        """With the settings of the compose file and no others."""
        port = kafka_broker.free_port()
        ports = {"19092": str(port), "9092": str(kafka_broker.free_port()), "9093": str(kafka_broker.free_port())}
        settings = {}
        for name, value in self.declared["kafka"]["environment"].items():
            if name not in NO_SETTINGS:
                key = name.removeprefix("KAFKA_").lower().replace("_", ".")
                settings[key] = re.sub(
                    r"(?P<before>//|@)\w*:(?P<port>\d+)",
                    lambda at: f"{at['before']}127.0.0.1:{ports[at['port']]}",
                    value,
                )
        return kafka_broker.Broker(self._directory / "broker", port, settings)


@contextmanager
def running(directory: Path) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_broker, "SETTINGS", {})
        stack = Stack(directory)
        try:
            stack.start()
            yield stack
        finally:
            stack.end()


def eventually(ask, seconds: float = START_S):
    """The first true answer; what a server that is still starting raises counts as none."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if answer := ask():
                return answer
        except (URLError, OSError) as error:
            answer = error
        assert time.monotonic() < deadline, answer
        time.sleep(0.25)


def dockerfile() -> str:
    return (COMPOSE / "Dockerfile").read_text("utf-8")
