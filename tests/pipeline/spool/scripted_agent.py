"""An agent with two sources that count, for tests to kill; run by its path.

Arguments: its settings (`pipeline.settings.Settings` in JSON), how many faults each source says, and how many a second.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from pipeline.agent import Agent
from pipeline.plan import Plan
from pipeline.settings import Settings
from producers.source import Ended, Observed, Source
from schemas import frames, records
from schemas.fields import GPU_TEMP
from schemas.records import Gpu

READS_S = 50


class Counting(Source):
    """Faults 1, 2, ... in their messages, with a frame at every read. A position is the last number."""

    def __init__(self, name: str, faults: int, per_s: int) -> None:
        self.name = name
        self._last, self._faults, self._per_read = 0, faults, max(per_s // READS_S, 1)

    async def open(self, after: str | None) -> None:
        self._last = int(after or 0)

    async def read(self) -> list[Observed]:
        if self._last >= self._faults:
            raise Ended
        await asyncio.sleep(1 / READS_S)
        numbers = range(self._last + 1, min(self._last + self._per_read, self._faults) + 1)
        self._last = numbers[-1]
        said = [
            records.KernelFault(ts=number, node="n1", fault="xid", code=94, message=f"{self.name} {number}")
            for number in numbers
        ]
        frame = frames.build(
            node="n1", seq=0, gpus=[Gpu(uuid="GPU-1")], ticks=[self._last], columns={GPU_TEMP: [float(self._last)]}
        )
        telemetry = Observed("n1", frames.KIND, frames.encode(frame))
        return [telemetry, *(Observed("n1", "kernel", records.encode(fault)) for fault in said)]

    def position(self) -> str | None:
        return str(self._last)

    async def close(self) -> None:
        pass


def main(settings: str, faults: str, per_s: str) -> None:
    sources: list[Source] = [Counting(name, int(faults), int(per_s)) for name in ("one", "two")]
    planned = Plan(sources, "counting", None)
    asyncio.run(Agent(msgspec.json.decode(settings, type=Settings), planned).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
