"""A worker: the partitions that the groups of its stages assign to it, each one a task, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.membership import Membership
from pipeline.kafka.settings import Kafka
from pipeline.log import Fenced, Unavailable
from pipeline.runner import Stats, run_task
from pipeline.topology import STAGES, Stage
from schemas import topics
from schemas.log import Part

POSITION_S = 5.0  # 134 positions a second would cost the broker more than the fleet itself
BACKOFF_S = (0.2, 2.0)
STOP_S = 5.0
WATCH_S = 5.0
FENCED_S = 3.0  # within that time, who was fenced by right hears that the group has moved on

logger = logging.getLogger(__name__)


@dataclass
class Running:
    """One part that is ours. lag: records of its input not stepped, as of a moment ago."""

    part: Part
    stats: Stats = field(default_factory=Stats)
    task: asyncio.Task[None] | None = None
    lag: int = 0


@dataclass
class Counts:
    """What has happened to a stage's partitions here since the worker started."""

    fenced: int = 0
    failed: int = 0


class Worker:
    """stages: whose partitions it takes. instance: its lasting name, if it has one; unique among the workers that run.

    observe: told of every part that starts, to attach what measures it.
    """

    def __init__(
        self,
        kafka: Kafka,
        instance: str | None = None,
        stages: Sequence[Stage] = STAGES,
        observe: Callable[[Running], object] = lambda running: None,
    ) -> None:
        self._kafka = kafka
        self._stages = stages
        self._observe = observe
        self._log = KafkaLog(kafka)
        self._ticks = KafkaIngress(kafka)
        self._turns = asyncio.Lock()
        self.members = {stage.name: Membership(kafka, stage, instance) for stage in stages}
        self.counts = {stage.name: Counts() for stage in stages}
        self.running: dict[Part, Running] = {}
        self.outage = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then all is committed, and others get our partitions at once.

        Raises what no retry mends: a state that this code cannot read.
        """
        followers = [asyncio.create_task(self._follow(stage), name=f"follow {stage.name}") for stage in self._stages]
        watch = asyncio.create_task(self._watch(), name="watch")
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopped, *followers], return_when=asyncio.FIRST_COMPLETED)
            for follower in followers:
                if follower.done():
                    follower.result()
        finally:
            await self._end(list(self.running.values()))
            await asyncio.gather(*(member.leave() for member in self.members.values()))
            await _cancelled(stopped, watch, *followers)
            await self._ticks.close()
            await self._log.close()

    def problems(self) -> dict[str, str]:
        """What keeps it from working, and does not pass by waiting."""
        found = {
            f"stage {part.stage}/{part.partition}": each.stats.outage
            for part, each in self.running.items()
            if each.stats.outage
        }
        found |= {f"group {name}": member.outage for name, member in self.members.items() if member.outage}
        if self.outage:
            found["kafka"] = self.outage
        return found

    def waiting(self) -> dict[str, str]:
        """What is not up to date yet."""
        found = {}
        for name, member in self.members.items():
            if not member.rebalances:
                found[f"group {name}"] = "has not assigned partitions yet"
        for part, each in self.running.items():
            if not each.stats.restores or each.stats.muted:
                found[f"stage {part.stage}/{part.partition}"] = "is being restored"
        return found

    async def _follow(self, stage: Stage) -> None:
        """A task that fails for good takes the others with it: the process ends, whoever started it begins anew."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._assigned(stage, await self.members[stage.name].assigned(), group)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _assigned(self, stage: Stage, partitions: frozenset[int], group: asyncio.TaskGroup) -> None:
        ours = {stage.part(partition) for partition in partitions}
        logger.info("stage %s: partitions %s", stage.name, ", ".join(map(str, sorted(partitions))) or "none")
        await self._end([each for part, each in self.running.items() if part.stage == stage.name and part not in ours])
        among = stage.among(self.members[stage.name].partitions())
        for part in sorted(ours - self.running.keys()):
            running = self.running[part] = Running(part)
            self._observe(running)
            running.task = group.create_task(self._run(among, running), name=f"{part.stage}/{part.partition}")

    async def _run(self, stage: Stage, running: Running) -> None:
        part = running.part
        while True:
            try:
                await run_task(
                    part,
                    partial(stage.make, part.partition),
                    self._log,
                    ticks=self._ticks if part.topic == topics.OBSERVATIONS else None,
                    stats=running.stats,
                    turns=self._turns,
                    position_s=POSITION_S,
                    backoff_s=BACKOFF_S,
                )
            except Fenced:
                self.counts[stage.name].fenced += 1
                await self._log.release(part)
                await asyncio.sleep(FENCED_S)
                await self.members[stage.name].settled.wait()  # still ours: a commit has taken too long

    async def _end(self, parts: Sequence[Running]) -> None:
        """Commit, save and let go; what does not succeed in time is redone by whoever has the part next."""
        tasks = [each.task for each in parts if each.task]
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            await _cancelled(*late)
        await asyncio.gather(*(self._log.release(each.part) for each in parts))
        for each in parts:
            self.running.pop(each.part, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                ends = await self._log.ends(list(self.running))
                self.outage = ""
            except Unavailable as error:
                self.outage = str(error)
                continue
            for part, end in ends.items():
                if each := self.running.get(part):
                    each.lag = max(end - each.stats.next_offset, 0)


async def _cancelled(*tasks: asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[bool]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
