"""A lane: the records of one kind in the order in which they were said, as segments."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.log import Entry
from pipeline.spool.blocks import Block, scan
from pipeline.spool.segment import Segment

FAULTS, TELEMETRY = "faults", "telemetry"


class Batch(NamedTuple):
    """Records to send next. end: what to acknowledge when they have arrived. size: bytes in the spool."""

    lane: str
    entries: list[Entry]
    end: int
    size: int
    urgent: bool


class Lane:
    """acked, end: numbers of the first record that is not acknowledged, and of the next one to be written.

    counts: the newest number of each node, as `producers.numbering` gives them. unreadable: records that were
    there and could not be read again.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.segments: list[Segment] = []
        self.acked = 0
        self.end = 0
        self.counts: dict[str, int] = {}
        self.unreadable = 0
        self._in_flight = 0
        self._at = (0, 0)  # segment, and offset in it behind which nothing is acknowledged

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    @property
    def waiting(self) -> int:
        """Records to send."""
        return sum(self.unsent(segment) for segment in self.segments)

    @property
    def waiting_bytes(self) -> int:
        """About how much that is."""
        return sum(
            segment.size * self.unsent(segment) // (segment.end - segment.first or 1) for segment in self.segments
        )

    def unsent(self, segment: Segment) -> int:
        return max(segment.end - max(segment.first, self.acked), 0)

    def in_flight(self, segment: Segment) -> bool:
        return self.acked < self._in_flight and segment.first < self._in_flight

    def peek(self, most: int) -> Batch | None:
        """The next records: at least one block, and no more blocks once there are `most` bytes."""
        for segment in self.segments:
            if segment.end > self.acked:
                batch = self._batch(segment, most)
                if batch:
                    self._in_flight = batch.end
                    return batch
                self.unreadable += self.unsent(segment)
                self.acked = segment.end
        return None

    def _batch(self, segment: Segment, most: int) -> Batch | None:
        number, start = self._at
        start = start if number == segment.number else 0
        entries: list[Entry] = []
        size, end, urgent = 0, 0, False
        try:
            data = segment.read(start)
        except OSError:
            return None
        for found in scan(data):
            block = found.content
            if not isinstance(block, Block) or not block.entries:
                continue
            if block.end <= self.acked:
                self._at = segment.number, start + found.end
                continue
            entries += block.entries
            size, end, urgent = size + found.end - found.at, block.end, urgent or block.urgent
            if size >= most:
                break
        return Batch(self.name, entries, end, size, urgent) if entries else None
