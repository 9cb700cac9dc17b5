"""Source `simulator:N`: a fleet of N GPUs in simulated time, with the failures that real fleets have.

It resumes by living through the same world again, muted.
"""

from __future__ import annotations

import asyncio

from producers.faults import Injected
from producers.fleet import START_MS, Fleet
from producers.simulated_node import FRAME_TICKS
from producers.source import Ended, Observed, Source, SourceError

SPEED = 10.0
READS_PER_S = 20
GPU_SECONDS_PER_READ = 60_000  # some tenths of a second of work
WAIT_MAX_S = 1.0


class Simulator(Source):
    """The fleet as a source, `speed` times as fast as real time.

    start_ms: simulated start. for_s: simulated seconds until it ends; None = never. speed 0: as fast as it is
    read. failure_rate, opening: see `producers.fleet.Fleet`. `truth` lists what has been injected so far.
    """

    owns_clock = True
    deadline_s = 120.0  # to live through days again

    def __init__(
        self,
        gpus: int,
        *,
        seed: int = 0,
        start_ms: int = START_MS,
        cluster: str = "default",
        speed: float = SPEED,
        failure_rate: float = 1.0,
        opening: bool = True,
        for_s: int | None = None,
    ) -> None:
        self.name = f"simulator:{gpus}"
        self._gpus = gpus
        self._seed = seed
        self._start_ms = start_ms
        self._cluster = cluster
        self._speed = speed
        self._failure_rate = failure_rate
        self._opening = opening
        self._for_s = for_s
        self._fleet: Fleet | None = None
        self._due_from = 0.0  # loop time at which the second after the current one is due

    @property
    def truth(self) -> list[Injected]:
        return self._fleet.truth if self._fleet else []

    async def open(self, after: str | None) -> None:
        """Resumes in the world that `after` names: its start and seed outrank those given."""
        lived = -1
        if after:
            self._seed, self._start_ms, lived = map(int, after.split("/"))
        self._fleet = Fleet(
            self._gpus,
            seed=self._seed,
            start_ms=self._start_ms,
            cluster=self._cluster,
            failure_rate=self._failure_rate,
            opening=self._opening,
        )
        while self._fleet.now < lived:
            # The frames that are under way when it goes on are made of these last ticks.
            self._fleet.advance(muted=self._fleet.now < lived - FRAME_TICKS)
            await asyncio.sleep(0)
        self._due_from = asyncio.get_running_loop().time()

    async def read(self) -> list[Observed]:
        """All seconds that are due, or the next one when it is."""
        fleet = self._fleet
        if fleet is None:
            raise SourceError(f"{self.name} is not open")
        if self._for_s is not None and fleet.now + 1 >= self._for_s:
            raise Ended
        seconds = await self._due()
        if self._for_s is not None:
            seconds = min(seconds, self._for_s - fleet.now - 1)
        return [observed for _ in range(seconds) for observed in fleet.advance()]

    def position(self) -> str | None:
        return f"{self._seed}/{self._start_ms}/{self._fleet.now}" if self._fleet else None

    async def close(self) -> None:
        """Nothing is held."""

    async def _due(self) -> int:
        """Wait until simulated seconds are due; how many, of as many as can be made at once."""
        most = max(1, GPU_SECONDS_PER_READ // self._gpus)
        if self._speed <= 0.0:
            return most
        clock = asyncio.get_running_loop().time
        next_at = self._due_from + max(1.0 / self._speed, 1.0 / READS_PER_S)
        await asyncio.sleep(min(next_at - clock(), WAIT_MAX_S))
        seconds = int((clock() - self._due_from) * self._speed)
        if seconds > most:  # the machine slept, or is too slow: what was missed is not hurried after
            self._due_from = clock()
            return most
        self._due_from += seconds / self._speed
        return seconds
