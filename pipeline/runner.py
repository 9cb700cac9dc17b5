"""The only loop: read a batch, step, commit outputs and position (and now and then the state) as one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.log import Entry, Fenced, Ingress, Log, Unavailable
from processors.task import Task
from schemas import records
from schemas.log import Output, Part, Record

OUTPUTS_MAX = 10_000  # held back for the next commit; while one is under way, nothing is stepped beyond them
BACKOFF_S = (0.5, 15.0)
STEP_S = 0.05  # what a step should take at most: commits need the network, and time, between any two
STEP_RECORDS = 16  # at least
LONG_S = 0.05  # to take a state; nothing is stepped meanwhile, in any partition
REST = 200  # how much longer the next one then waits

logger = logging.getLogger(__name__)


def _ignored(seconds: float) -> None:
    pass


class UnreadableState(UsageProblem):
    """What an earlier run has saved is damaged, or of another version. Nothing was changed."""


@dataclass(slots=True)
class Stats:
    """What a task has done since its runner started, for metrics.

    next_offset: where the next batch begins; the lag is the end of the input topic minus this. stream_ms:
    append time of the last record stepped. committed_ms, checkpoint_ms: when the last commit, and the last with
    a state, returned. muted: it is still catching up with what an earlier run had committed. outage: why the log
    cannot be used now, else empty. commit_took, restore_took: told how many seconds each one took; a restore
    ends where the task says something new.
    """

    records: int = 0
    outputs: int = 0
    commits: int = 0
    checkpoints: int = 0
    restores: int = 0
    next_offset: int = 0
    stream_ms: int = 0
    committed_ms: int = 0
    checkpoint_ms: int = 0
    muted: bool = False
    outage: str = ""
    commit_took: Callable[[float], None] = _ignored
    restore_took: Callable[[float], None] = _ignored


async def run_task(
    part: Part,
    make: Callable[[], Task],
    log: Log,
    *,
    ticks: Ingress | None = None,
    stats: Stats | None = None,
    turns: asyncio.Lock | None = None,
    commit_s: float = 1.0,
    position_s: float = 1.0,
    checkpoint_s: float = 20.0,
    backoff_s: tuple[float, float] = BACKOFF_S,
    clock: Callable[[], int] = wall_ms,
) -> Task:
    """Run one partition of one stage until its input ends, and return the task as it then is.

    make: a fresh task; called anew whenever the log has to be restored. ticks: where to append the time, once
    a second, while the input is idle (the node stage on a live log; `clock` tells it). commit_s,
    position_s, checkpoint_s: how long outputs that nobody waits for, a position without outputs, and the state may
    stay uncommitted.

    A commit runs beside the next steps, one at a time: what they cause goes into the one after it.

    Guarantees: every output reaches the log once, whatever fails, and in order. Cancelled once, it commits and
        checkpoints before it ends.
    Raises: Fenced, another owner has the partition. UnreadableState. Never
        Unavailable: it is logged once an outage, shown in `stats`, and tried again for ever.
    """
    stats = stats if stats is not None else Stats()
    wait_s = backoff_s[0]
    while True:
        run = _Run(part, make(), log, ticks, stats, turns or asyncio.Lock(), commit_s, position_s, checkpoint_s, clock)
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
    turns: asyncio.Lock
    commit_s: float
    position_s: float
    checkpoint_s: float
    clock: Callable[[], int]
    at_once: int = 1 << 20  # records in a step
    committed: int = 0
    next_offset: int = 0
    checkpointed: int = 0
    urgent: bool = False
    commit_due: float = 0.0
    position_due: float = 0.0
    checkpoint_due: float = 0.0
    restoring_since: float | None = None
    pending: list[Output] = field(default_factory=list)
    commit: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        self.restoring_since = _now()
        checkpoint, self.committed = await self.log.restore(self.part)
        self.next_offset = min(0, self.committed)  # below 0: what a replay puts before a recording
        if checkpoint:
            try:
                self.task.restore(checkpoint)
            except ValueError as error:
                help = "go on with the release that has saved it, or have the log read anew"
                raise UnreadableState(f"{self.part.stage}/{self.part.partition}: {error}", help) from None
            self.next_offset = checkpoint.next_offset
        self.checkpointed = self.next_offset
        self.stats.restores += 1
        self.commit_due = _now() + self.commit_s
        self.position_due = _now() + self.position_s
        spread = self.part.partition * 0.618 % 1  # partitions that start together save their states apart
        self.checkpoint_due = _now() + (1 - spread) * self.checkpoint_s
        self.restored()

    async def loop(self) -> None:
        batches = self.read()
        batch = asyncio.ensure_future(anext(batches))
        try:
            while True:
                full = self.commit and len(self.pending) >= OUTPUTS_MAX
                waiting = [each for each in (None if full else batch, self.commit) if each]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if self.commit and self.commit.done():
                    done, self.commit = self.commit, None
                    done.result()
                if batch.done() and not full:
                    try:
                        await self.take(batch.result())
                    except StopAsyncIteration:
                        return await self.finish()
                    batch = asyncio.ensure_future(anext(batches))
                if not self.commit and self.due():
                    self.commit = asyncio.ensure_future(self.save(_now() >= self.checkpoint_due))
        except asyncio.CancelledError:
            batch.cancel()
            await self.shut_down()
            raise
        finally:
            batch.cancel()
            await asyncio.gather(batch, return_exceptions=True)
            if self.commit:
                self.commit.cancel()
                await asyncio.gather(self.commit, return_exceptions=True)

    async def read(self) -> AsyncGenerator[list[Record]]:
        """Batches, cut to what can be stepped in a short time."""
        async for batch in self.log.read(self.part, self.next_offset):
            while len(batch) > self.at_once:
                some, batch = batch[: self.at_once], batch[self.at_once :]
                yield some
            yield batch

    async def take(self, batch: list[Record]) -> None:
        if batch:
            async with self.turns:
                self.step(batch)
        else:
            await self.idle()

    def step(self, batch: list[Record]) -> None:
        began = _now()
        outputs = self.task.step(batch)
        record_s = (_now() - began) / len(batch)
        self.at_once = max(STEP_RECORDS, int(STEP_S / record_s)) if record_s else self.at_once
        self.next_offset = batch[-1].offset + 1
        fresh = [output for output in outputs if output.offset >= self.committed]
        if not self.pending:
            self.commit_due = _now() + self.commit_s
        self.pending += fresh
        self.urgent = self.urgent or any(output.urgent for output in fresh)
        self.stats.records += len(batch)
        self.stats.next_offset = self.next_offset
        self.stats.stream_ms = batch[-1].ts
        self.restored()

    def due(self) -> bool:
        """Whether it is time to commit: at once when a reader waits for something."""
        if self.next_offset <= self.committed:
            return False
        now = _now()
        if self.pending and (self.urgent or len(self.pending) >= OUTPUTS_MAX or now >= self.commit_due):
            return True
        return now >= self.position_due or now >= self.checkpoint_due

    async def save(self, with_state: bool) -> None:
        """Commit what has been stepped so far; everything is taken before the first wait."""
        outputs, next_offset = self.pending, self.next_offset
        self.pending, self.urgent = [], False
        began = _now()
        checkpoint = self.task.checkpoint() if with_state and next_offset > self.checkpointed else None
        took_s = _now() - began
        rest_s = REST * took_s if took_s > LONG_S else 0.0
        await self.log.commit(self.part, outputs, next_offset, checkpoint)
        self.committed = next_offset
        self.position_due = _now() + self.position_s
        self.stats.commits += 1
        self.stats.outputs += len(outputs)
        self.stats.committed_ms = self.clock()
        self.stats.commit_took(_now() - began)
        if checkpoint:
            self.checkpointed = next_offset
            self.checkpoint_due = _now() + max(self.checkpoint_s, rest_s)
            self.stats.checkpoints += 1
            self.stats.checkpoint_ms = self.stats.committed_ms
        self.available()

    async def finish(self) -> None:
        """The last commit, with the state, unless there is nothing new."""
        if self.commit:
            commit, self.commit = self.commit, None
            await commit
        if self.next_offset > self.committed or self.checkpointed < self.next_offset == self.committed:
            await self.save(with_state=True)

    async def idle(self) -> None:
        self.urgent = bool(self.pending)  # there is nothing to wait for
        if self.ticks and self.next_offset >= self.committed:
            now = self.clock()
            tick = Entry("", "tick", records.encode(records.Tick(ts=now)), now, self.part.partition)
            await self.ticks.append(self.part.topic, [tick])
        self.available()

    async def shut_down(self) -> None:
        try:
            await self.finish()
        except Unavailable as outage:
            logger.warning("%s/%d ends with work to redo: %s", self.part.stage, self.part.partition, outage)

    def restored(self) -> None:
        self.stats.muted = self.next_offset < self.committed
        if self.restoring_since is not None and not self.stats.muted:
            self.stats.restore_took(_now() - self.restoring_since)
            self.restoring_since = None

    def available(self) -> None:
        if self.stats.outage:
            logger.warning("%s/%d goes on", self.part.stage, self.part.partition)
            self.stats.outage = ""


def _now() -> float:
    return asyncio.get_running_loop().time()
