"""The source over the double, and what it says, for tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from producers.nvml.source import Nvml
from producers.source import Observed
from schemas import frames, records
from tests.producers.nvml import double

T = TypeVar("T")

A, B = "GPU-00000000", "GPU-00000001"


class Clock:
    """A second passes each time it is asked."""

    def __init__(self) -> None:
        self.ms = 1_760_000_000_000

    def __call__(self) -> int:
        self.ms += 1000
        return self.ms


def source(nvml: double.Nvml, **options: Any) -> Nvml:
    """A second passes from one sample to the next."""
    seconds = itertools.count()
    defaults = {"node": "n", "interval_s": 0.005, "load": lambda: nvml, "now": Clock(), "clock": lambda: next(seconds)}
    return Nvml(**defaults | options)


def with_source(nvml: double.Nvml, use: Callable[[Nvml], Awaitable[T]], **options: Any) -> T:
    """What `use` makes of a source that was opened; it is closed afterwards, and has let go of the driver."""

    async def run() -> T:
        one = source(nvml, **options)
        await one.open(None)
        try:
            return await use(one)
        finally:
            nvml.answer()
            await one.close()
            await one.close()
            assert (nvml.opened, nvml.sets) == (0, 0)

    return asyncio.run(run())


async def until(one: Nvml, kind: str, number: int = 1) -> list[Observed]:
    """All that it says until `number` of this kind were among it."""
    said: list[Observed] = []
    while sum(observed.kind == kind for observed in said) < number:
        said += await asyncio.wait_for(one.read(), 60.0)
    return said


async def told(one: Nvml, record: type[T], true: Callable[[T], bool]) -> T:
    """The first of such records of which it is true."""
    while True:
        for found in of(record, await asyncio.wait_for(one.read(), 60.0)):
            if true(found):
                return found


def of(record: type[T], said: Sequence[Observed]) -> list[T]:
    kind = {
        records.Inventory: "inventory",
        records.LinkStatus: "links",
        records.KernelFault: "kernel",
        records.SourceStatus: "source",
    }[record]  # type: ignore[index]
    return [msgspec.json.decode(one.value, type=record) for one in said if one.kind == kind]


def ticks(said: Sequence[Observed]) -> Iterator[dict[str, dict[int, float]]]:
    """Each sample: the values by UUID and field, without those that are blank."""
    for frame in (frames.decode(one.value) for one in said if one.kind == frames.KIND):
        columns = dict(frame.columns())
        for tick in range(len(frame.ticks)):
            yield {
                gpu.uuid: {
                    field: value
                    for field, column in columns.items()
                    if (value := column[tick * len(frame.gpus) + at]) == value
                }
                for at, gpu in enumerate(frame.gpus)
            }
