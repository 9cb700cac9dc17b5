"""A log that is read only: given records, for replay and scan, as fast as the stages go."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from itertools import islice
from typing import NamedTuple

from schemas.log import Checkpoint, Origin, Output, Part, Record

BATCH_RECORDS = 512
BEFORE_ALL = -1  # the offset of a record that is put in front of a recording

Emit = Callable[[Part, Sequence[Output]], None]
Source = Iterable[Record] | AsyncIterable[Sequence[Record]]


class Start(NamedTuple):
    """Where a part begins: its state (None: a fresh task's), and the position from which its outputs are told."""

    checkpoint: Checkpoint | None = None
    position: int = BEFORE_ALL


class ArchiveLog:
    """inputs: the records of parts, offsets rising from 0, or from BEFORE_ALL; each is read once.

    fed: parts that read what others write, and those others; `complete` says that one of these is done. emit: is
    handed all outputs of a part, in order. starts: of parts that do not begin at the beginning. Nothing is kept
    but what a reader has yet to fetch: one that is fed has its turn after each batch of a writer.
    """

    def __init__(
        self,
        inputs: Mapping[Part, Source],
        fed: Mapping[Part, Collection[Part]],
        emit: Emit,
        starts: Mapping[Part, Start] | None = None,
    ) -> None:
        self._inputs = inputs
        self._emit = emit
        self._starts = starts or {}
        self._feeds = {part: _Feed(writers, self._first_offset(part)) for part, writers in fed.items()}

    async def restore(self, part: Part) -> tuple[Checkpoint | None, int]:
        return self._starts.get(part, Start())

    async def read(self, part: Part, offset: int) -> AsyncGenerator[list[Record]]:
        if feed := self._feeds.get(part):
            async for batch in feed.read():
                yield batch
            return
        source = self._inputs.get(part, ())
        if isinstance(source, AsyncIterable):
            async for fetched in source:
                yield list(fetched)
                await asyncio.sleep(0)
            return
        records = iter(source)
        while batch := list(islice(records, BATCH_RECORDS)):
            yield batch
            await asyncio.sleep(0)

    async def commit(
        self, part: Part, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None = None
    ) -> None:
        self._emit(part, outputs)
        for reader, feed in self._feeds.items():
            feed.add(part, [output for output in outputs if output.topic == reader.topic])

    def complete(self, writer: Part) -> None:
        """It will write nothing more; a reader that is fed by nobody else ends."""
        for feed in self._feeds.values():
            feed.complete(writer)

    def _first_offset(self, part: Part) -> int:
        checkpoint = self._starts.get(part, Start()).checkpoint
        return checkpoint.next_offset if checkpoint else 0


class _Feed:
    """What some parts hand to another, in an order that does not depend on which of them ran ahead.

    By append time, then by partition; within a part as it was said. So a record waits until every other writer
    has said something later, or is complete.
    """

    def __init__(self, writers: Collection[Part], next_offset: int) -> None:
        self._waiting: dict[Part, deque[Output]] = {part: deque() for part in writers}
        self._silent = set(writers)
        self._heads: list[tuple[int, int, Part]] = []  # a heap: of each part that has something waiting
        self._newest_ms = dict.fromkeys(writers, 0)
        self._next_offset = next_offset
        self._incomplete = set(writers)
        self._news = asyncio.Event()

    def add(self, part: Part, outputs: Sequence[Output]) -> None:
        if not outputs or part not in self._waiting:
            return
        self._waiting[part].extend(outputs)
        if part in self._silent:
            self._silent.remove(part)
            self._push(part)
        self._news.set()

    def complete(self, part: Part) -> None:
        self._incomplete.discard(part)
        self._silent.discard(part)
        self._news.set()

    async def read(self) -> AsyncGenerator[list[Record]]:
        while self._incomplete or self._heads:
            await self._news.wait()
            self._news.clear()
            if batch := self._take():
                yield batch

    def _take(self) -> list[Record]:
        batch = []
        while self._heads and not self._silent:
            _, _, part = heapq.heappop(self._heads)
            output = self._waiting[part].popleft()
            origin = Origin(part.stage, part.partition, output.offset, output.ordinal)
            batch.append(Record(self._next_offset, output.ts, output.key, output.kind, output.value, origin))
            self._next_offset += 1
            if self._waiting[part]:
                self._push(part)
            elif part in self._incomplete:
                self._silent.add(part)
        return batch

    def _push(self, part: Part) -> None:
        """A time that falls back does not overtake what the part has said before."""
        self._newest_ms[part] = max(self._newest_ms[part], self._waiting[part][0].ts)
        heapq.heappush(self._heads, (self._newest_ms[part], part.partition, part))
