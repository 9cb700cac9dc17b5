"""The embedded pipeline: sources -> log -> stages -> sinks, in one process, until its sources end or it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from pipeline.clock import wall_ms
from pipeline.follow import Follower
from pipeline.intake import Intake
from pipeline.log import Entry, Unavailable
from pipeline.recorder import Recorder
from pipeline.runner import Stats, run_task
from pipeline.sqlite_log import SqliteLog
from pipeline.topology import STAGES, Stage
from processors.judges import GRID_MS
from producers.numbering import Numbering
from producers.source import Source
from producers.supervisor import supervise
from schemas import records, topics
from schemas.counts import counted
from sinks.sink import Sink

POLL_S = 0.05
TICK_S = 1.0  # between two of the ticks that an idle log gets
WATCH_S = 1.0
PRUNE_S = 60.0
STOP_S = 3.0  # from the first signal on: what is not done by then is done after the next start
BEHIND = 1_000  # records: more than that is a backlog, not a batch under way


@dataclass
class Running:
    """A stage and its task. lag: records of its input not stepped, as of a moment ago."""

    stage: Stage
    stats: Stats = field(default_factory=Stats)
    task: asyncio.Task[object] | None = None
    lag: int = 0


class App:
    """sources: not opened. sinks: closed at the end. node, cluster: what this machine is called.

    `problems` and `waiting` may be asked from any thread.
    """

    def __init__(
        self,
        log: SqliteLog,
        sources: Sequence[Source],
        policy: records.PolicyChange,
        sinks: Sequence[Sink],
        *,
        recorder: Recorder | None = None,
        node: str | None = None,
        cluster: str = "default",
    ) -> None:
        self._log = log
        self._sources = sources
        self._sinks = sinks
        self._recorder = recorder
        self._node, self._cluster = node, cluster
        self._live = not any(source.owns_clock for source in sources)
        self.intake = Intake(log, policy, not self._live)
        self.stages = [Running(stage) for stage in STAGES]
        self._followers = {sink.name: Follower(sink, log) for sink in sinks}
        self._sink_lags: dict[str, int] = {}

    async def run(self, stop: asyncio.Event, for_s: float | None = None) -> None:
        """Until all sources have ended and what they said has reached the sinks, `stop`, or `for_s` is over.

        Raises UsageProblem (the log does not fit the sources), and what a stage or a sink raises.
        """
        await self.intake.start()
        helpers = [asyncio.create_task(self._watch()), asyncio.create_task(self._prune())]
        if self._recorder:
            helpers.append(asyncio.create_task(self._recorder.run()))
        await asyncio.sleep(0)  # the recorder has to be there before the stages say anything
        stages = [self._start(running, first) for first, running in enumerate(self.stages)]
        followers = [asyncio.create_task(follower.run()) for follower in self._followers.values()]
        numbering = Numbering(wall_ms())
        sources = [asyncio.create_task(self._supervise(source, numbering)) for source in self._sources]
        complete = asyncio.create_task(self._complete(sources))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait(
                [complete, stopped, *stages, *followers], timeout=for_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in (complete, *stages, *followers):
                if task.done() and not task.cancelled():
                    task.result()  # raises what has ended it
            if not complete.done():
                await cancel(complete, *sources)
                await self._finish(STOP_S)
        finally:
            await cancel(complete, stopped, *sources, *stages, *followers, *helpers)
            for sink in self._sinks:
                await sink.close()

    def problems(self) -> dict[str, str]:
        """What keeps the pipeline from working, and does not pass by waiting."""
        found = {f"stage {each.stage.name}": each.stats.outage for each in self.stages if each.stats.outage}
        found |= {f"sink {name}": each.outage for name, each in self._followers.items() if each.outage}
        if self.intake.outage:
            found["log"] = self.intake.outage
        return found

    def waiting(self) -> dict[str, str]:
        """What is not up to date yet: sources that have not answered, backlogs."""
        found = {}
        for source in self._sources:
            status = self.intake.sources.get(source.name)
            if status is None:
                found[f"source {source.name}"] = "has not answered yet"
            elif status.state == "failing":
                found[f"source {source.name}"] = f"failing: {status.detail}"
        for each in self.stages:
            if not each.stats.restores:
                found[f"stage {each.stage.name}"] = "has not started yet"
            elif each.lag > BEHIND or each.stats.muted:
                found[f"stage {each.stage.name}"] = f"{counted(each.lag, 'record')} behind"
        found |= {
            f"sink {name}": f"{counted(lag, 'record')} behind" for name, lag in self._sink_lags.items() if lag > BEHIND
        }
        return found

    def now(self) -> int:
        """What time it is on the log, ms; 0: its sources own the clock, and have said nothing yet."""
        return wall_ms() if self._live else self.stages[0].stats.stream_ms

    async def say(self, word: records.Operator) -> None:
        """Put an operator's word on the log. Raises Unavailable."""
        entry = Entry(word.node, "operator", records.encode(word), None if self._live else self.now())
        await self._log.append(topics.OBSERVATIONS, [entry])

    def _start(self, running: Running, at: int) -> asyncio.Task[object]:
        stage = running.stage
        ticks = self._log if self._live and at == 0 else None  # elsewhere time comes with the records
        running.task = asyncio.create_task(
            run_task(stage.part(), partial(stage.make, 0), self._log, ticks=ticks, stats=running.stats)
        )
        return running.task

    async def _supervise(self, source: Source, numbering: Numbering) -> None:
        position = await self._log.position(source.name)
        await supervise(
            source,
            self.intake.append,
            position=position,
            numbering=numbering,
            node=self._node,
            cluster=self._cluster,
        )

    async def _complete(self, sources: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.gather(*sources)
        if self._live:  # what the last records said is judged at the next timer; ticks bring it on
            await asyncio.sleep(GRID_MS / 1000 + 2 * TICK_S)
        await self._finish(None)

    async def _finish(self, within_s: float | None) -> None:
        """Stage by stage: wait until it has stepped all its input, end it (it commits); then the sinks."""
        try:
            async with asyncio.timeout(within_s):
                for each in self.stages:
                    target = self._log.end_offset(each.stage.input)
                    while self._stepped(each) < target:
                        await asyncio.sleep(POLL_S)
                    if each.task:
                        await cancel(each.task)
                for follower in self._followers.values():
                    while follower.lag():
                        await asyncio.sleep(POLL_S)
        except (TimeoutError, Unavailable):
            return  # the log keeps what is left

    def _stepped(self, each: Running) -> int:
        return max(each.stats.next_offset, self._log.committed(each.stage.part()))

    async def _watch(self) -> None:
        """Measures lags here, on the loop: the log is not for other threads."""
        while True:
            with suppress(Unavailable):  # said by those who wait for it
                for each in self.stages:
                    each.lag = max(self._log.end_offset(each.stage.input) - self._stepped(each), 0)
                self._sink_lags = {name: each.lag() for name, each in self._followers.items()}
            await asyncio.sleep(WATCH_S)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_S)
            with suppress(Unavailable):
                await self._log.prune()


async def cancel(*tasks: asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[bool]) -> None:
    """Cancel and wait; what they raise is for those who await their results."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
