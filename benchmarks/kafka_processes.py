"""The processes of a Kafka benchmark: workers, the load, and what they cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import msgspec

from benchmarks.kafka_load import Load
from benchmarks.run_cost import cpu_s
from pipeline.kafka.settings import Kafka
from scripts.kafka_broker import free_port

WAIT_S = 120.0
SAMPLE = re.compile(r'^gpu_vitals_(\w+)\{(?:partition="(\d+)",)?stage="(\w+)"\} (\S+)$', re.MULTILINE)


class Process:
    """One process, by what it has used of the processor."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu_s(self) -> float:
        return cpu_s(self.pid)


class Worker(Process):
    """`gpu-vitals worker`, as it is started in production."""

    def __init__(self, kafka: Kafka, *options: str) -> None:
        self._port = free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        argv = [sys.executable, "-m", "pipeline", "worker", "--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix]
        environment = os.environ | {"GPU_VITALS_KAFKA_PARTITIONS": str(kafka.partitions)}
        self.process = subprocess.Popen(
            [*argv, "--listen", str(self._port), *options], env=environment, stdout=self._log, stderr=self._log
        )
        super().__init__(self.process.pid)

    def metrics(self) -> dict[tuple[str, str], dict[int, float]]:
        """By name and stage, by partition (of what has none: -1); nothing while it does not answer yet."""
        self.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
                page = answer.read().decode()
        except OSError:
            return {}
        found: dict[tuple[str, str], dict[int, float]] = {}
        for name, partition, stage, value in SAMPLE.findall(page):
            found.setdefault((name, stage), {})[int(partition or -1)] = float(value)
        return found

    def number(self, name: str, stage: str) -> float:
        """The sum over partitions; 0 while there is none."""
        return sum(self.metrics().get((name, stage), {}).values())

    def check(self) -> None:
        """Raises RuntimeError if it has ended."""
        if self.process.poll() is not None:
            self._log.seek(0)
            raise RuntimeError(f"the worker has ended: {self._log.read().decode()[-2000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def worker(kafka: Kafka, *options: str) -> Iterator[Worker]:
    started = Worker(kafka, *options)
    try:
        yield started
    finally:
        started.kill()


class Generator(Process):
    """The load, living."""

    def __init__(self, process: subprocess.Popen[bytes], lines: IO[bytes]) -> None:
        super().__init__(process.pid)
        self.process = process
        self._lines = lines

    def newest(self) -> dict[str, Any]:
        """What it said last: see `benchmarks.kafka_load.live`; nothing before its first second."""
        if self.process.poll() is not None:
            raise RuntimeError("the load generator has ended")
        self._lines.seek(0)
        whole = self._lines.read().rpartition(b"\n")[0]
        line: dict[str, Any] = json.loads(whole.rpartition(b"\n")[2]) if whole else {}
        return line


@contextmanager
def generator(kafka: Kafka, load: Load) -> Iterator[Generator]:
    argv = [sys.executable, "-m", "benchmarks.kafka_load"]
    with tempfile.TemporaryFile() as lines:
        settings = [msgspec.json.encode(kafka).decode(), msgspec.json.encode(load).decode()]
        process = subprocess.Popen([*argv, *settings], stdout=lines)
        try:
            yield Generator(process, lines)
        finally:
            process.kill()
            process.wait()


class Shares:
    """What processes use of a core between `begin` and `end`."""

    def __init__(self, **processes: Process) -> None:
        self._processes = processes
        self.begin()

    def begin(self) -> None:
        self._since = time.monotonic()
        self._used = {name: process.cpu_s() for name, process in self._processes.items()}

    def end(self) -> dict[str, float]:
        took = time.monotonic() - self._since
        return {name: (process.cpu_s() - self._used[name]) / took for name, process in self._processes.items()}


def wait(until: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not until():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} has not happened within {limit_s:g} s")
        time.sleep(0.05)
