"""Decisions as JSON Lines, for programs: one object (`sinks.shown`) per decision, in the order they were made.

At least once: after a crash the newest lines may come again, with the same `offset` and `origin`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import BinaryIO, ClassVar

from schemas import topics
from schemas.log import Record
from sinks.shown import Gone, encode, shown
from sinks.sink import Applied, Sink


class DecisionStream(Sink):
    """Writes to `out` (standard output, a file, a pipe), flushed with every batch.

    Raises BrokenPipeError when nobody reads any more: there is no point in trying again.
    """

    name = "decision-stream"
    topics = (topics.DECISIONS,)

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._written = Applied()

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        lines = b"".join(map(render, self._written.fresh(topic, partition, records)))
        if lines:
            await asyncio.to_thread(self._write, lines)
        self._written.add(topic, partition, records)

    def _write(self, lines: bytes) -> None:
        """In a thread: a reader that is slow holds up nothing but this stream."""
        self._out.write(lines)
        self._out.flush()


class DecisionLines(DecisionStream):
    """The same as a view: each time the newest decision of every GPU first, then what is decided from now on."""

    name = "console"
    rebuilds: ClassVar[bool] = True


def render(record: Record) -> bytes:
    """The line for one decision record, newline included; nothing for a tombstone."""
    line = shown(record)
    return b"" if isinstance(line, Gone) else encode(line) + b"\n"
