"""What the agent of a node with 8 GPUs costs it: 20 fields at 1 Hz, to a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.fleets import GPUS
from benchmarks.kafka_load import broker, made
from benchmarks.run_cost import cpu_s, resident_mib
from pipeline.kafka.settings import Kafka
from pipeline.settings import Settings
from pipeline.spool.settings import AgentSettings

WARM_S, MEASURED_S = 15, 60
PUBLISHED = (  # by others, of agents that judge nothing either, with what they run on included
    "dcgm-exporter, 8 GPUs: 417 to 511 MiB (pytorch/ci-infra issue 1011, 2026-08)",
    "dcgm-exporter: .3 to .9 % of a core at a sample in 6 s (NVIDIA/gpu-operator issue 340)",
    "gpuhealth, built on gpud: below 100 MB and 1 % of a core (its README, v0.3)",
)
CORE_PERCENT, RESIDENT_MB, WIRE_BYTES_S = 1.0, 60, 100


class Node:
    """`benchmarks.agent_node`, running."""

    def __init__(self, kafka: Kafka, directory: str) -> None:
        settings = Settings(node="node-000001", kafka=kafka, agent=AgentSettings(spool_dir=directory))
        argv = [sys.executable, "-m", "benchmarks.agent_node", msgspec.json.encode(settings).decode()]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def node(kafka: Kafka) -> Iterator[Node]:
    with tempfile.TemporaryDirectory(prefix="gpu-vitals-bench-") as directory:
        started = Node(kafka, directory)
        try:
            yield started
        finally:
            started.process.kill()
            started.process.wait()


def main() -> None:
    with broker() as started:
        kafka = made(started.bootstrap, "cost", 1)
        with node(kafka) as measured:
            time.sleep(WARM_S)
            pid = measured.process.pid
            used, wire, stored, began = cpu_s(pid), measured.ask("wire"), size(started.directory), time.monotonic()
            time.sleep(MEASURED_S)
            took = time.monotonic() - began
            share = 100 * (cpu_s(pid) - used) / took
            sent, received = (after - before for after, before in zip(measured.ask("wire"), wire, strict=True))
            grown = size(started.directory) - stored
            memory = resident_mib(pid) * 2**20 / 1e6
    print(f"{GPUS} GPUs x 20 fields at 1 Hz, {took:.0f} s")
    print(f"{share:5.2f} % of a core           (at most {CORE_PERCENT:g})")
    print(f"{memory:5.1f} MB resident, peak     (at most {RESIDENT_MB})")
    print(
        f"{sent / took / GPUS:5.1f} B/s a GPU on the wire  (at most {WIRE_BYTES_S}); {received / took / GPUS:.1f} back"
    )
    print(f"{grown / took / GPUS:5.1f} B/s a GPU in the topic")
    print("published:", *PUBLISHED, sep="\n      ")


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("data/cost.observations-*/*.log"))


if __name__ == "__main__":
    main()
