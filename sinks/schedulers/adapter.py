"""The contract of an adapter: what may be asked of a scheduler, whichever it is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

Weight = Literal["none", "step", "native"]
Unit = Literal["gpu", "worker", "node"]
State = Literal["serving", "drained", "removed", "unknown"]


class Away(Exception):
    """The scheduler cannot be asked or told now; the same is tried again."""


class Refused(Exception):
    """The scheduler will not do this, however often it is asked; others may well be taken."""


class Capabilities(NamedTuple):
    """weight: "native" = any share of the traffic; "step" = some shares; "none" = all or nothing.

    unit: what is taken out as a whole. in_flight: it can tell what still runs. force: it can end what runs.
    """

    weight: Weight
    unit: Unit
    in_flight: bool
    force: bool


class Gpu(NamedTuple):
    """A GPU by all the names that a scheduler may know it by; uuid and bdf may be empty, not both."""

    node: str
    uuid: str
    bdf: str


class Standing(NamedTuple):
    """How a unit stands with the scheduler. in_flight: None = cannot be told. ours: it is we who have taken it out.

    state: "unknown" where it is not there, or its state is none that we know; `detail` says more.
    """

    state: State
    in_flight: int | None = None
    ours: bool = False
    detail: str = ""


class Adapter(ABC):
    """Each call may be repeated, also after a crash in its middle: it leads to the same end, and nothing is doubled.

    What we do is tagged as ours where the scheduler, or a file of ours, keeps it for good. `add` undoes what is ours
    and nothing else: who was drained by somebody else stays drained. Any call raises Away; those that change
    something raise Refused, too. note: for people who look at the scheduler; one line.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    @abstractmethod
    async def units(self, gpus: Sequence[Gpu]) -> Mapping[Gpu, Collection[str]]:
        """The units that use each GPU; none where the scheduler does not know it."""

    @abstractmethod
    async def look(self, units: Collection[str]) -> Mapping[str, Standing]:
        """How each of them stands, now."""

    @abstractmethod
    async def drain(self, unit: str, note: str) -> None:
        """Nothing new goes there; what runs may finish."""

    @abstractmethod
    async def force(self, unit: str, note: str) -> None:
        """What still runs there ends, or goes on elsewhere. Refused where `capabilities.force` is not."""

    @abstractmethod
    async def remove(self, unit: str, note: str) -> None:
        """It is not used at all any more: nothing of the scheduler's may hold the GPU."""

    @abstractmethod
    async def add(self, unit: str) -> None:
        """As it was before `drain`, as far as that was our doing."""

    async def news(self) -> None:
        """Returns when it is worth looking again at once; by default never. For schedulers that tell by themselves."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Let go; harmless twice."""
