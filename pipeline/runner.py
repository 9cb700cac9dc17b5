"""The only loop: read a batch, step, commit outputs and position (and now and then the state) as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.clock import wall_ms
from pipeline.log import Entry, Fenced, Ingress, Log, Unavailable
from processors.task import Task
from schemas import records
from schemas.log import Output, Part, Record

OUTPUTS_MAX = 10_000  # held back for the next commit
BACKOFF_S = (0.5, 15.0)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Stats:
    """What a task has done since its runner started, for metrics.

    next_offset: where the next batch begins; the lag is the end of the input topic minus this. stream_ms:
    append time of the last record stepped. committed_ms: when the last commit returned. muted: it is still
    catching up with what an earlier run had committed. outage: why the log cannot be used now, else empty.
    """

    records: int = 0
    outputs: int = 0
    commits: int = 0
    checkpoints: int = 0
    restores: int = 0
    next_offset: int = 0
    stream_ms: int = 0
    committed_ms: int = 0
    muted: bool = False
    outage: str = ""


async def run_task(
    part: Part,
    make: Callable[[], Task],
    log: Log,
    *,
    ticks: Ingress | None = None,
    stats: Stats | None = None,
    commit_s: float = 1.0,
    checkpoint_s: float = 20.0,
    backoff_s: tuple[float, float] = BACKOFF_S,
    clock: Callable[[], int] = wall_ms,
) -> Task:
    """Run one partition of one stage until its input ends, and return the task as it then is.

    make: a fresh task; called anew whenever the log has to be restored. ticks: where to append the time, once
    a second, while the input is idle (the node stage on a live log; `clock` tells it). commit_s,
    checkpoint_s: how long outputs that nobody waits for, and the state, may stay uncommitted.

    Guarantees: every output reaches the log once, whatever fails, and in order. Cancelled while it waits for
        input, it commits and checkpoints first.
    Raises: Fenced, another owner has the partition. ValueError, the checkpoint cannot be read. Never
        Unavailable: it is logged once an outage, shown in `stats`, and tried again for ever.
    """
    stats = stats if stats is not None else Stats()
    wait_s = backoff_s[0]
    while True:
        run = _Run(part, make(), log, ticks, stats, commit_s, checkpoint_s, clock)
        try:
            await run.restore()
            await run.loop()
            return run.task
        except Unavailable as outage:
            if not stats.outage:
                logger.warning("%s/%d waits: %s", part.stage, part.partition, outage)
                wait_s = backoff_s[0]
            stats.outage = str(outage)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, backoff_s[1])
        except Fenced as reason:
            logger.error("%s/%d stops, another owner has it: %s", part.stage, part.partition, reason)
            raise


@dataclass(slots=True)
class _Run:
    """One life of a task, from a restore to the next outage."""

    part: Part
    task: Task
    log: Log
    ticks: Ingress | None
    stats: Stats
    commit_s: float
    checkpoint_s: float
    clock: Callable[[], int]
    committed: int = 0
    next_offset: int = 0
    checkpointed: int = 0
    commit_due: float = 0.0
    checkpoint_due: float = 0.0
    pending: list[Output] = field(default_factory=list)

    async def restore(self) -> None:
        checkpoint, self.committed = await self.log.restore(self.part)
        self.next_offset = min(0, self.committed)  # below 0: what a replay puts before a recording
        if checkpoint:
            self.task.restore(checkpoint)
            self.next_offset = checkpoint.next_offset
        self.checkpointed = self.next_offset
        self.stats.restores += 1
        self.commit_due = _now() + self.commit_s
        spread = self.part.partition * 0.618 % 1  # partitions that start together save their states apart
        self.checkpoint_due = _now() + (1 - spread) * self.checkpoint_s

    async def loop(self) -> None:
        batches = aiter(self.log.read(self.part, self.next_offset))
        while True:
            try:
                batch = await anext(batches)
            except StopAsyncIteration:
                return await self.commit(last=True)
            except asyncio.CancelledError:
                await self.shut_down()
                raise
            if not batch:
                await self.idle()
            elif self.step(batch) or len(self.pending) >= OUTPUTS_MAX or _now() >= self.commit_due:
                await self.commit()

    def step(self, batch: list[Record]) -> bool:
        """True when a reader waits for something in it."""
        outputs = self.task.step(batch)
        self.next_offset = batch[-1].offset + 1
        fresh = [output for output in outputs if output.offset >= self.committed]
        self.pending += fresh
        self.stats.records += len(batch)
        self.stats.next_offset = self.next_offset
        self.stats.stream_ms = batch[-1].ts
        self.stats.muted = self.next_offset < self.committed
        return any(output.urgent for output in fresh)

    async def commit(self, last: bool = False) -> None:
        self.commit_due = _now() + self.commit_s
        save = self.next_offset > self.checkpointed and (last or _now() >= self.checkpoint_due)
        if self.next_offset < self.committed or not (save or self.next_offset > self.committed):
            return
        checkpoint = self.task.checkpoint() if save else None
        await self.log.commit(self.part, self.pending, self.next_offset, checkpoint)
        self.committed = self.next_offset
        self.stats.commits += 1
        self.stats.outputs += len(self.pending)
        self.stats.committed_ms = self.clock()
        self.pending = []
        if checkpoint:
            self.checkpointed = self.next_offset
            self.checkpoint_due = _now() + self.checkpoint_s
            self.stats.checkpoints += 1
        self.available()

    async def idle(self) -> None:
        await self.commit()
        if self.ticks and self.next_offset >= self.committed:
            now = self.clock()
            tick = Entry("", "tick", records.encode(records.Tick(ts=now)), now)
            await self.ticks.append(self.part.topic, [tick])
        self.available()

    async def shut_down(self) -> None:
        try:
            await self.commit(last=True)
        except Unavailable as outage:
            logger.warning("%s/%d ends with work to redo: %s", self.part.stage, self.part.partition, outage)

    def available(self) -> None:
        if self.stats.outage:
            logger.warning("%s/%d goes on", self.part.stage, self.part.partition)
            self.stats.outage = ""


def _now() -> float:
    return asyncio.get_running_loop().time()
