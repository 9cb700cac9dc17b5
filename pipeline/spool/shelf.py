"""Where segments stand: on disk, and in memory while the disk fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.spool.blocks import Block, Head, encode
from pipeline.spool.lane import FAULTS, TELEMETRY, Lane
from pipeline.spool.segment import Segment, name

MEMORY_BYTES = 4 << 20  # while the disk fails
RETRY_S = 30.0

logger = logging.getLogger(__name__)


class Shelf:
    """The segments of both lanes, and what each new one begins with.

    directory: None = there is no disk to use. epoch, boot, positions: see `pipeline.spool.blocks.Head`. number: of
    the newest segment. trouble: why the disk is not used, in words.
    """

    def __init__(self, boot: str, epoch: int, segment_bytes: int, clock: Callable[[], float]) -> None:
        self.directory: Path | None = None
        self.lanes: Mapping[str, Lane] = {FAULTS: Lane(FAULTS), TELEMETRY: Lane(TELEMETRY)}
        self.positions: dict[str, tuple[int, str]] = {}
        self.epoch = epoch
        self.number = 0
        self.trouble = ""
        self._boot = boot
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._retry_at = 0.0
        self._directory_changed = False

    @property
    def memory_bytes(self) -> int:
        return sum(each.size for lane in self.lanes.values() for each in lane.segments if not each.on_disk)

    def write(self, lane: Lane, block: Block, data: bytes) -> None:
        """data: `block`, encoded."""
        segment = lane.segments[-1]
        full = segment.end > segment.first and segment.size + len(data) > self._segment_bytes
        if full or (self.trouble and segment.on_disk):
            segment = self.begin(lane)
        try:
            segment.write(data)
        except OSError as error:
            self.fail(error, self.directory)
            segment = self.begin(lane)
            segment.write(data)
        segment.end = lane.end = block.end
        segment.urgent = segment.urgent or block.urgent
        lane.counts |= block.counts

    def begin(self, lane: Lane) -> Segment:
        """A new segment, which knows all that the older ones know."""
        self.number += 1
        for other in self.lanes.values():
            if other.segments:  # the new segment knows the positions of what is in them: it must not outlive that
                other.segments[-1].make_durable()
        known = Head(
            first=lane.end, epoch=self.epoch, boot=self._boot, counts=lane.counts, positions=dict(self.positions)
        )
        head = encode(known)
        segment = self._on_disk(lane, head)
        if segment is None:
            segment = Segment(self.number, lane.end, None)
            segment.write(head)
        lane.segments.append(segment)
        self.release(lane)
        return segment

    def removable(self, lane: Lane) -> list[Segment]:
        """All but the newest, and while the disk fails but the newest one there: it knows where sources are."""
        on_disk = [segment for segment in lane.segments if segment.on_disk]
        kept = on_disk[-1:] if self.trouble else []
        return [segment for segment in lane.segments[:-1] if segment not in kept]

    def release(self, lane: Lane) -> None:
        """Let go of the segments that have been acknowledged."""
        done = [segment for segment in self.removable(lane) if segment.end <= lane.acked]
        if done:
            lane.segments[-1].make_durable()  # it alone knows now what these knew
        for segment in done:
            self.remove(lane, segment)

    def remove(self, lane: Lane, segment: Segment) -> None:
        lane.segments.remove(segment)
        segment.remove()

    def fail(self, error: OSError, directory: Path | None) -> None:
        """From now on segments begin in memory."""
        why = (error.strerror or str(error)).lower()
        self.trouble = f"{directory}: {why}; what is seen stays in memory, {MEMORY_BYTES >> 20} MiB of it at most"
        self._retry_at = self._clock() + RETRY_S
        logger.warning("spool: %s", self.trouble)

    def mend(self) -> None:
        """Try the disk again from time to time: what had to stay in memory goes there first."""
        if not (self.trouble and self.directory) or self._clock() < self._retry_at:
            return
        try:
            for lane in self.lanes.values():
                for segment in lane.segments:
                    if not segment.on_disk:
                        segment.to_disk(self.directory / name(lane.name, segment.number))
                        self._directory_changed = True
        except OSError:
            self._retry_at = self._clock() + RETRY_S
            return
        self.trouble = ""
        logger.warning("spool: %s can be written again", self.directory)

    def unsynced(self) -> list[int]:
        """Descriptors of what is written and not durable yet, for the caller to make so and to close."""
        found = [segment.descriptor() for lane in self.lanes.values() for segment in lane.segments]
        if self._directory_changed and self.directory:
            self._directory_changed = False
            found.append(os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return [each for each in found if each is not None]

    def close(self) -> None:
        for lane in self.lanes.values():
            for segment in lane.segments:
                segment.close()

    def _on_disk(self, lane: Lane, head: bytes) -> Segment | None:
        if not self.directory or self.trouble:
            return None
        segment = None
        try:
            segment = Segment(self.number, lane.end, self.directory / name(lane.name, self.number))
            segment.write(head)
        except OSError as error:
            if segment:
                segment.remove()
            self.fail(error, self.directory)
            return None
        self._directory_changed = True
        return segment
