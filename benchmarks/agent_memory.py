"""An agent's DCGM source over a simulated day: 14,400 samples of 8 GPUs, and an engine that starts anew each hour.

The engine is the tests' double. Time passes as fast as the source reads; what it says is numbered, and dropped.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from producers import supervisor
from producers.dcgm import bindings, source
from producers.dcgm.source import Dcgm
from producers.numbering import Numbering
from producers.source import Observed
from schemas import frames

DOUBLE = Path(__file__).parents[1] / "tests" / "producers" / "dcgm" / "double"
GPUS, HOURS, SAMPLES = 8, 24, 600
XIDS = 10  # an hour
GROWTH_KIB = 1_024  # from the second hour on


def main() -> None:
    os.environ[bindings.OVERRIDE] = str(DOUBLE)
    sys.path.append(str(DOUBLE))
    supervisor.BACKOFF_S = supervisor.BACKOFF_MAX_S = 0.01
    source.CHECK_S, source.LOOK_S = 0.1, 1.0  # of a second that takes some ms
    resident = asyncio.run(day())
    steps = ", ".join(f"{each / 1024:.1f}" for each in resident)
    print(f"resident after each hour, MiB: {steps}")
    print(f"from hour 2 to hour {HOURS}: {resident[-1] - resident[1]:+} KiB   (flat: within {GROWTH_KIB} KiB)")


async def day() -> list[int]:
    from host_engine import HostEngine  # type: ignore[import-not-found]

    engine, counted, resident = HostEngine(gpus=GPUS), 0, []

    async def count(entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        nonlocal counted
        counted += sum(len(frames.decode(one.value).ticks) for one in entries if one.kind == frames.KIND)

    reading = asyncio.create_task(
        supervisor.supervise(Dcgm(node="n1", interval_s=0.0), count, position=None, numbering=Numbering(1), node="n1")
    )
    for hour in range(1, HOURS + 1):
        while counted < hour * SAMPLES:
            if reading.done():
                reading.result()
            await asyncio.sleep(0.05)
            if counted % (SAMPLES // XIDS) < 20:
                engine.xid(counted % GPUS, 31)
        resident.append(resident_kib())
        engine = engine.restart()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return resident


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
