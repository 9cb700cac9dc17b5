"""Contract kits: what every log and every task must do, as checks that anybody can run on theirs.

An AssertionError says which guarantee is broken.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import msgspec

from pipeline.log import Entry, Ingress, Log
from pipeline.runner import run_task
from processors.task import Task
from schemas.log import Checkpoint, Output, Part, Record

READ_S = 60.0  # longer than any batch takes to come
IN, OUT = "observations", "rates"
PART = Part("kit", IN)


class OpenLog(Log, Ingress, Protocol):
    """A log with both sides, as the kit opens it."""

    async def close(self) -> None: ...


class Sums:
    """A task to try logs with: per record the sum so far, urgent when that is even; state = the sum."""

    def __init__(self) -> None:
        self.total = 0
        self.next_offset = 0

    def step(self, records: Sequence[Record]) -> list[Output]:
        outputs = []
        for record in records:
            self.total += len(record.value)
            self.next_offset = record.offset + 1
            for ordinal in range(record.offset % 3):
                value = f"{self.total}.{ordinal}".encode()
                urgent = self.total % 2 == 0
                outputs.append(Output(OUT, record.key, "sum", value, record.ts, record.offset, ordinal, urgent))
        return outputs

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.next_offset, str(self.total).encode())

    def restore(self, checkpoint: Checkpoint) -> None:
        self.total = int(checkpoint.data)
        self.next_offset = checkpoint.next_offset


# --- logs --------------------------------------------------------------------------------------------------


async def check_log(make: Callable[[], Awaitable[OpenLog]]) -> None:
    """Run the whole contract on a log.

    make: opens the same log each time, empty at first, in the state in which it was left; called again only
    after `close`.
    """
    log = await make()
    try:
        await _check_empty(log)
        await _check_order(log)
        await _check_commits(log)
        await _check_news(log)
    finally:
        await log.close()
    log = await make()
    try:
        await _check_kept(log)
    finally:
        await log.close()
    await _check_crashes(make)


async def _check_empty(log: OpenLog) -> None:
    assert await log.restore(PART) == (None, 0), "a new log has neither checkpoint nor position"
    assert await _next(log.read(PART, 0)) == [], "a batch is empty when nothing comes"


async def _check_order(log: OpenLog) -> None:
    large = bytes(range(256)) * 40
    await log.append(IN, [Entry("a", "x", b"1", 1_000), Entry("b", "y", b"", 900)])
    await log.append(IN, [Entry("a", "x", large, 1_100), Entry("", "z", b"\x00\xff")])
    records = await _take(log, PART, 0, 4)
    assert [record.offset for record in records] == [0, 1, 2, 3], "offsets rise by one"
    assert [record.value for record in records] == [b"1", b"", large, b"\x00\xff"], "values come back as given"
    assert [(record.key, record.kind) for record in records] == [("a", "x"), ("b", "y"), ("a", "x"), ("", "z")]
    assert [record.ts for record in records[:3]] == [1_000, 900, 1_100], "a given append time is not altered"
    assert records[3].ts > 0, "an entry without one takes the log's"
    assert all(record.origin is None for record in records), "only derived records have an origin"
    assert await _take(log, PART, 2, 2) == records[2:], "reading begins where it is told to"


async def _check_commits(log: OpenLog) -> None:
    outputs = [Output(OUT, "g", "sum", b"one", 1_000, 0, 0), Output(OUT, "g", "sum", b"two", 900, 1, 3)]
    await log.commit(PART, outputs, 2)
    assert await log.restore(PART) == (None, 2), "outputs and position are committed together"
    derived = await _take(log, Part("reader", OUT), 0, 2)
    assert [record.value for record in derived] == [b"one", b"two"]
    assert [record.ts for record in derived] == [1_000, 900], "derived records keep their cause's append time"
    assert [record.origin for record in derived] == [("kit", 0, 0, 0, 0), ("kit", 0, 1, 3, 0)]

    state = Checkpoint(3, b"state")
    await log.commit(PART, [], 3, state)
    await log.commit(PART, [], 4)
    assert await log.restore(PART) == (state, 4), "the checkpoint stays while the position moves"
    assert await log.restore(Part("other", IN)) == (None, 0), "stages do not share positions"
    try:
        await log.commit(PART, [Output(OUT, "g", "sum", b"late", 0, 1, 0)], 1)
    except Exception:
        assert await log.restore(PART) == (state, 4)
    else:
        raise AssertionError("a commit below the committed position must raise")
    assert len(await _derived(log, PART)) == 2, "a commit that raises leaves no outputs"


async def _check_news(log: OpenLog) -> None:
    reader = log.read(PART, 4)
    assert await _next(reader) == [], "a batch is empty when nothing comes"
    for _ in range(5):  # once is enough: on a busy machine news may come late
        waiting = asyncio.ensure_future(_next(reader))
        await asyncio.sleep(0)
        await log.append(IN, [Entry("a", "x", b"news", 1_300)])
        if found := await waiting:
            break
        while not await _next(reader):
            pass
    assert [record.value for record in found] == [b"news"], "a waiting reader is woken"
    assert await _next(reader) == [], "a batch is empty when nothing more comes"


async def _check_kept(log: OpenLog) -> None:
    assert await log.restore(PART) == (Checkpoint(3, b"state"), 4), "position and checkpoint outlive the process"
    assert len(await _derived(log, PART)) == 2, "and so do records"


async def _check_crashes(make: Callable[[], Awaitable[OpenLog]]) -> None:
    """Crash at each commit in turn, before and after it, until a run passes untouched: nothing lost or doubled."""
    log = await make()
    await log.append(IN, [Entry("k", "x", b"v" * (n % 7), 2_000 + n) for n in range(40)])
    records = await _take(log, PART, 0, 45)
    await log.close()
    expected = Sums()
    outputs = [(out.offset, out.ordinal, out.value) for out in expected.step(records)]
    nth, crashed = 0, True
    while crashed:
        nth += 1
        for after in (False, True):
            part = Part(f"crash {'after' if after else 'before'} {nth}", IN)
            log = await make()
            crashed = await _run(_Scripted(log, len(records), nth, after), part) is None
            await log.close()
            log = await make()
            task = await _run(_Scripted(log, len(records)), part)
            derived = await _derived(log, part)
            await log.close()
            assert task, f"{part.stage}: runs to the end"
            assert task.checkpoint() == expected.checkpoint(), f"{part.stage}: state"
            assert derived == outputs, f"{part.stage}: every output once, in order"


class _Crash(Exception):
    """The process ends here; nothing after it runs."""


class _Scripted:
    """Passes `log` on up to offset `end`, record by record, and crashes at the `nth` commit."""

    def __init__(self, log: Log, end: int, nth: int = 0, after: bool = False) -> None:
        self._log, self._end, self._nth, self._after = log, end, nth, after
        self._commits = 0
        self.restore = log.restore

    async def read(self, part: Part, offset: int) -> AsyncGenerator[list[Record]]:
        if offset >= self._end:
            return
        async with aclosing(self._log.read(part, offset)) as batches:
            async for batch in batches:
                for record in batch:
                    yield [record]
                    if record.offset == self._end - 1:
                        return

    async def commit(
        self, part: Part, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None = None
    ) -> None:
        self._commits += 1
        if self._commits == self._nth and not self._after:
            raise _Crash
        await self._log.commit(part, outputs, next_offset, checkpoint if self._commits % 3 else None)
        if self._commits == self._nth:
            raise _Crash


async def _run(log: Log, part: Part) -> Task | None:
    """The task at the end of its input; None when it crashed."""
    try:
        return await run_task(part, Sums, log, checkpoint_s=0.0)
    except _Crash:
        return None


async def _take(log: Log, part: Part, offset: int, count: int) -> list[Record]:
    """The next `count` records, which must be there."""
    records: list[Record] = []
    async with asyncio.timeout(READ_S):
        async for batch in log.read(part, offset):
            records += batch
            if len(records) >= count:
                break
    return records[:count]


async def _derived(log: OpenLog, part: Part) -> list[tuple[int, int, bytes]]:
    """All that `part` has put on OUT: offset and ordinal of the origin, and the value."""
    end = random.randbytes(8)
    await log.append(OUT, [Entry("", "end", end)])  # behind it nothing has to be waited for
    found: list[tuple[int, int, bytes]] = []
    async with asyncio.timeout(READ_S):
        async for batch in log.read(Part("reader", OUT), 0):
            for record in batch:
                if record.value == end:
                    return found
                if record.origin and record.origin.stage == part.stage:
                    found.append((record.origin.offset, record.origin.ordinal, record.value))
    raise AssertionError("a log must not end")


async def _next(reader: AsyncIterator[list[Record]]) -> list[Record]:
    async with asyncio.timeout(READ_S):
        return await anext(reader)


# --- tasks -------------------------------------------------------------------------------------------------


def check_cuts(
    make: Callable[[], Task],
    records: Sequence[Record],
    expected: Sequence[Output] | None = None,
    *,
    rounds: int = 10,
    seed: int = 0,
) -> list[Output]:
    """Feed `records` whole, one by one and cut at random, with a checkpoint and a restore at each cut or without.

    expected: what must come out; without it, what comes out of the whole. Returns that.
    """
    task = make()
    outputs = task.step(records)
    if expected is not None:
        assert outputs == list(expected), "outputs of the whole"
    places = [(output.offset, output.ordinal) for output in outputs]
    assert places == sorted(set(places)), "outputs are ordered by offset and ordinal, each once"
    final = task.checkpoint()
    if records:
        assert final.next_offset == records[-1].offset + 1, "a checkpoint covers what was stepped"

    draw = random.Random(seed)
    everywhere = list(range(1, len(records)))
    cuts = [everywhere]
    cuts += [sorted(draw.sample(everywhere, draw.randint(0, len(everywhere)))) for _ in range(rounds)]
    for at in cuts:
        for restored in (False, True):
            how = f"cut at {at}, {'restored' if restored else 'not restored'} there (seed {seed})"
            cut_outputs, cut_final = _step_in_pieces(make, records, at, restored)
            assert cut_outputs == outputs, f"outputs differ: {how}"
            assert cut_final == final, f"state differs: {how}"
    return outputs


def _step_in_pieces(
    make: Callable[[], Task], records: Sequence[Record], at: Sequence[int], restored: bool
) -> tuple[list[Output], Checkpoint]:
    task, outputs = make(), []
    for start, end in zip((0, *at), (*at, len(records)), strict=True):
        outputs += task.step(records[start:end])
        if restored:
            saved = msgspec.msgpack.encode(task.checkpoint())
            task = make()
            task.restore(msgspec.msgpack.decode(saved, type=Checkpoint))
    return outputs, task.checkpoint()
