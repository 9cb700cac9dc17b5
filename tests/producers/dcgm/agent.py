"""An agent that reads DCGM under the real supervisor, with a list as its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from producers.dcgm.source import Dcgm
from producers.numbering import Numbering
from producers.sampling import Sampler
from producers.source import Observed
from producers.supervisor import supervise
from schemas import frames, records

INTERVAL_S = 0.01
PATIENCE_S = 60.0
TYPES: dict[str, Any] = {
    "inventory": records.Inventory,
    "kernel": records.KernelFault,
    "source": records.SourceStatus,
    "health": records.HealthIncident,
    "violation": records.PolicyViolation,
    "links": records.LinkStatus,
}


class Log:
    """What the agent has appended, in order; and its position."""

    def __init__(self) -> None:
        self.entries: list[Observed] = []
        self.position: str | None = None
        self.held: Callable[[], int] = lambda: 0  # how many samples have been taken and not published

    async def __call__(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        self.entries += entries
        self.position = position

    def all(self, kind: str) -> list[Any]:
        if kind == frames.KIND:
            return [frames.decode(one.value) for one in self.entries if one.kind == kind]
        return [msgspec.json.decode(one.value, type=TYPES[kind]) for one in self.entries if one.kind == kind]

    def kinds(self) -> set[str]:
        return {one.kind for one in self.entries}

    def sample(self) -> dict[int, dict[str, float | None]]:
        """The newest sample: by field and UUID, None = blank."""
        newest = [one for one in self.entries if one.kind == frames.KIND]
        if not newest:
            return {}
        frame = frames.decode(newest[-1].value)
        uuids = [gpu.uuid for gpu in frame.gpus]
        return {
            field: {
                uuid: None if value != value else value
                for uuid, value in zip(uuids, column[-len(uuids) :], strict=True)
            }
            for field, column in frame.columns()
        }

    def value(self, field: int, uuid: str) -> float | None:
        return self.sample().get(field, {}).get(uuid)

    def state(self) -> tuple[str, str]:
        """How the source fares, by the last word on it."""
        said = self.all("source")
        return (said[-1].state, said[-1].detail) if said else ("", "")

    def states(self) -> list[str]:
        return [one.state for one in self.all("source")]

    def xids(self) -> list[tuple[str, int | None]]:
        return [(fault.uuid, fault.code) for fault in self.all("kernel")]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what must come."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(INTERVAL_S)

    async def rounds(self, count: int = 3) -> None:
        """Until so many more samples have been published."""
        goal = len(self.all(frames.KIND)) + count
        await self.until(lambda: len(self.all(frames.KIND)) >= goal)


@asynccontextmanager
async def running(target: str = "", *, position: str | None = None, publish_s: float = 0.0) -> AsyncIterator[Log]:
    """An agent that runs until the end of the block."""
    log = Log()
    source = Dcgm(target, node="n1", interval_s=INTERVAL_S)
    source._sampler = Sampler("n1", publish_s=publish_s)  # 0 = each sample at once
    log.held = lambda: len(source._sampler._ticks)
    task = asyncio.create_task(supervise(source, log, position=position, numbering=Numbering(1), node="n1", seed=1))
    try:
        yield log
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
