"""The processes that compose/compose.yaml declares, started by hand: its commands, its settings, its health checks.

Only what names another machine is replaced: hosts by loopback, ports by free ones, the settings file by a copy.
"""

from __future__ import annotations

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

from scripts import kafka_broker

COMPOSE = Path(__file__).parents[2] / "compose"
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
        self._settings = directory / "gpu-vitals.toml"
        self._settings.write_text(settings.replace(BROKER_ADDRESS, self.broker.bootstrap))

    def of(self, service: str) -> list[Process]:
        return [each for each in self.processes if each.service == service]

    def start(self) -> None:
        """Everything of ours; first what the others wait for."""
        self.broker.start()
        ours = {name: each for name, each in self.declared.items() if each["image"].startswith("gpu-vitals:")}
        waited_for = {
            name
            for each in ours.values()
            for name, how in each["depends_on"].items()
            if how["condition"] == "service_completed_successfully"
        }
        for name in waited_for:
            process = self._run(name)
            assert process.popen.wait(timeout=START_S) == 0, process.log.read_text()
        for name in ours.keys() - waited_for:
            for _ in range(ours[name]["deploy"].get("replicas", 1)):
                self.processes.append(self._run(name))

    def end(self) -> None:
        for process in self.processes:
            process.popen.kill()
            process.popen.wait()
        self.broker.kill()

    def _run(self, service: str) -> Process:
        declared = self.declared[service]
        entry_point = shlex.split(" ".join(re.findall(r'^ENTRYPOINT \["(.+)"\]$', dockerfile(), re.MULTILINE)))
        assert entry_point == ["gpu-vitals"]
        port = inside = 0
        arguments = []
        for word in declared["command"]:
            if listens := re.fullmatch(r"0\.0\.0\.0:(\d+)", word):
                port, inside = kafka_broker.free_port(), int(listens[1])
                word = f"127.0.0.1:{port}"
            arguments.append(str(self._settings) if word == SETTINGS_FILE else word)
        log = self._directory / f"{service}-{port}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._directory,
            )
        return Process(service, popen, port, inside, declared, log)

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
