"""What the source `nvml` costs on this machine: its GPUs, then the same as if they were eight, then each field."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import SimpleNamespace
from typing import Any

from benchmarks.fleets import GPUS
from producers.nvml import library
from producers.nvml.reader import Reader
from producers.nvml.source import Nvml
from producers.nvml.ways import WAYS, Asking
from producers.source import SourceError
from producers.watched import WATCHED
from schemas.fields import FIELDS

WARM_S, MEASURED_S = 10.0, 60.0
TIMES = 20
CORE_PERCENT = 1.0  # of the whole agent


class Repeated:
    """The module, with the GPUs of the machine over and over until they are `GPUS`, each by another name."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._names = itertools.count(1)
        self._addresses = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nvml, name)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return GPUS

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802
        return self._nvml.nvmlDeviceGetHandleByIndex(index % self._nvml.nvmlDeviceGetCount())

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802
        return f"GPU-{next(self._names):08x}-1b2c-4d5e-8f90-a1b2c3d4e5f6"

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:  # noqa: N802
        return SimpleNamespace(busId=f"0000FFFF:{next(self._addresses):02X}:00.0")


async def core_percent(source: Nvml) -> float:
    """Of this process, with all its threads, while it does nothing but read."""
    await source.open(None)
    try:
        await reads(source, WARM_S)
        used, began = time.process_time(), time.monotonic()
        await reads(source, MEASURED_S)
        return 100 * (time.process_time() - used) / (time.monotonic() - began)
    finally:
        await source.close()


async def reads(source: Nvml, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await source.read()


def by_field(nvml: Any) -> None:
    """Of the first GPU: what each asking costs, the dearest first."""
    library.start(nvml)
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        costs = []
        for field in WATCHED:
            reader = Reader(nvml, handle, {field: Asking(WAYS[field].ways)})
            reader.read()
            if not reader.tells(field):
                continue
            began, used = time.perf_counter(), time.thread_time()
            for _ in range(TIMES):
                reader.read()
            took, used = time.perf_counter() - began, time.thread_time() - used
            costs.append((used / TIMES, took / TIMES, WAYS[field].every_s or 1, field))
    finally:
        nvml.nvmlShutdown()
    print("us of CPU   us   asked each   field")
    for used, took, every_s, field in sorted(costs, reverse=True):
        print(f"{1e6 * used:9.0f} {1e6 * took:4.0f} {every_s:10} s   {field} {FIELDS[field].name}")
    per_second = sum(used / every_s for used, _, every_s, _ in costs)
    print(f"{1e6 * per_second:9.0f} us of CPU a second and GPU, if each were asked in a call of its own")


def main() -> None:
    try:
        nvml = library.load()
        real = asyncio.run(core_percent(Nvml()))
    except SourceError as error:
        print(f"not measured: {error}")
        return
    print(f"{real:5.2f} % of a core, the GPUs of this machine at 1 Hz, {MEASURED_S:.0f} s")
    repeated = asyncio.run(core_percent(Nvml(load=lambda: Repeated(nvml))))
    print(f"{repeated:5.2f} % of a core, as {GPUS} GPUs  (the whole agent: at most {CORE_PERCENT:g})")
    by_field(nvml)


if __name__ == "__main__":
    main()
