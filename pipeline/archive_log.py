"""A log that is read only: given records, for replay and scan, as fast as the stages go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice

from schemas.log import Checkpoint, Origin, Output, Part, Record

BATCH_RECORDS = 512
BEFORE_ALL = -1  # the offset of a record that is put in front of a recording

Emit = Callable[[Part, Sequence[Output]], None]


class ArchiveLog:
    """inputs: the records of topics, offsets rising from 0, or from BEFORE_ALL; each topic is read once.

    fed: topics that stages write and others read; `complete` says that no more will come. emit: is handed all
    outputs of a stage, in order. Nothing is kept but what a reader has yet to fetch: that of a fed topic has
    its turn after each batch of the writer.
    """

    def __init__(self, inputs: Mapping[str, Iterable[Record]], fed: Collection[str], emit: Emit) -> None:
        self._inputs = inputs
        self._feeds = {topic: _Feed() for topic in fed}
        self._emit = emit

    async def restore(self, part: Part) -> tuple[Checkpoint | None, int]:
        return None, BEFORE_ALL

    async def read(self, part: Part, offset: int) -> AsyncIterator[list[Record]]:
        if feed := self._feeds.get(part.topic):
            async for batch in feed.read():
                yield batch
            return
        records = iter(self._inputs.get(part.topic, ()))
        while batch := list(islice(records, BATCH_RECORDS)):
            yield batch
            await asyncio.sleep(0)

    async def commit(
        self, part: Part, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None = None
    ) -> None:
        self._emit(part, outputs)
        for output in outputs:
            if feed := self._feeds.get(output.topic):
                feed.add(part, output)

    def complete(self, topics: Iterable[str]) -> None:
        """Nothing more will be written to `topics`: their readers end."""
        for topic in topics:
            if feed := self._feeds.get(topic):
                feed.complete()


class _Feed:
    """What one stage hands to the next."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._next_offset = 0
        self._complete = False
        self._news = asyncio.Event()

    def add(self, part: Part, output: Output) -> None:
        origin = Origin(part.stage, part.partition, output.offset, output.ordinal)
        self._records.append(Record(self._next_offset, output.ts, output.key, output.kind, output.value, origin))
        self._next_offset += 1
        self._news.set()

    def complete(self) -> None:
        self._complete = True
        self._news.set()

    async def read(self) -> AsyncIterator[list[Record]]:
        while self._records or not self._complete:
            await self._news.wait()
            self._news.clear()
            batch, self._records = self._records, []
            if batch:
                yield batch
