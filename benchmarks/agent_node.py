"""The agent that is measured: 8 GPUs x 20 fields at 1 Hz and a kernel's log, on real Kafka.

It answers on standard output, in JSON, to each line of its standard input: `wire` (bytes sent and received so far),
`faults N` (writes N kernel lines, one about every 100 ms: for each the ms until Kafka had acknowledged it).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence

import msgspec

from benchmarks.fleets import GAUGES, GPUS, MOVING, STILL
from pipeline import agent
from pipeline.kafka.ingress import KafkaIngress
from pipeline.log import Entry
from pipeline.plan import Plan
from pipeline.settings import Settings
from producers.host import now_ms
from producers.kmsg import Kmsg
from producers.sampling import Sampler
from producers.source import Observed, Source
from schemas.fields import POWER
from schemas.records import Gpu

LINE = "6,{number},{us},-;NVRM: Xid (PCI:0000:1b:00): 31, pid=1, name=python, Ch 0000{number:04d}, MMU fault\n"
NUMBER = re.compile(rb"Ch 0000(\d{4})")
TCP_INFO_BYTES, ACKED_AT = 136, 120  # of struct tcp_info: bytes acknowledged, then bytes received
UUID = "GPU-{at:08x}-1b2c-4d5e-8f90-a1b2c3d4e5f6"
APART_S = (0.05, 0.15)


class Node(Source):
    """Gauges that waver as those of GPUs at work do; counters that stand still as those of healthy ones do."""

    name = "node"

    def __init__(self) -> None:
        self._random = random.Random(1)
        self._sampler = Sampler("node-000001")
        self._gpus = [
            Gpu(uuid=f"GPU-{at:08x}-1b2c-4d5e-8f90-a1b2c3d4e5f6", bdf=f"0000:{at:02x}:00") for at in range(GPUS)
        ]

    async def open(self, after: str | None) -> None:
        self._due = asyncio.get_running_loop().time()

    async def read(self) -> list[Observed]:
        self._due += 1.0
        await asyncio.sleep(self._due - asyncio.get_running_loop().time())
        values = {field: [self._waver(field, value) for _ in range(GPUS)] for field, value in GAUGES.items()}
        values |= {field: [0.0] * GPUS for field in (*STILL, *MOVING)}
        return self._sampler.add(now_ms(), self._gpus, values)

    async def close(self) -> None:
        """Nothing is held."""

    def _waver(self, field: int, value: int) -> float:
        """By some 2 %; power in milliwatts, all else in whole numbers."""
        return round(value + self._random.gauss(0.0, value / 50), 3 if field == POWER else 0)


class Timed(KafkaIngress):
    """acknowledged: when, by the number of the kernel line."""

    acknowledged: dict[int, float] = {}

    async def append(self, topic: str, entries: Sequence[Entry]) -> None:
        await super().append(topic, entries)
        now = time.perf_counter()
        for entry in entries:
            if entry.kind == "kernel" and (found := NUMBER.search(entry.value)):
                self.acknowledged[int(found[1])] = now


class Kernel:
    """Stands for /dev/kmsg: each read yields one record."""

    def __init__(self) -> None:
        self._writer, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader.setblocking(False)
        self._reader = reader
        self._number = 0

    def open(self) -> int:
        return os.dup(self._reader.fileno())

    def say(self, count: int) -> list[float]:
        """The ms that each of `count` lines took."""
        began = {}
        for _ in range(count):
            time.sleep(random.uniform(*APART_S))
            self._number += 1
            line = LINE.format(number=self._number, us=time.monotonic_ns() // 1000)
            began[self._number] = time.perf_counter()
            self._writer.send(line.encode())
        deadline = time.monotonic() + 30
        while not began.keys() <= Timed.acknowledged.keys() and time.monotonic() < deadline:
            time.sleep(0.01)
        return [1000 * (Timed.acknowledged[number] - at) for number, at in began.items()]


def wire() -> tuple[int, int]:
    """Bytes of all TCP connections of this process, as its kernel counts them."""
    sent = received = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            connection = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
                acked, got = struct.unpack_from("<QQ", info, ACKED_AT)
                sent, received = sent + acked, received + got
    return sent, received


def answer(kernel: Kernel) -> None:
    for line in sys.stdin:
        what, *numbers = line.split()
        print(json.dumps(wire() if what == "wire" else kernel.say(int(numbers[0]))), flush=True)


def main(settings: str) -> None:
    agent.KafkaIngress = Timed  # type: ignore[misc]
    kernel = Kernel()
    sources: list[Source] = [Node(), Kmsg(node="node-000001", open_device=kernel.open)]
    threading.Thread(target=answer, args=(kernel,), daemon=True).start()
    asyncio.run(agent.Agent(msgspec.json.decode(settings, type=Settings), Plan(sources, "bench", None)).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
