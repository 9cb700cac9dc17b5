"""The spool on disk: two lanes within a bound, how far each has been sent, and what was lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.log import Entry
from pipeline.spool import place
from pipeline.spool.blocks import Block, encode
from pipeline.spool.lane import FAULTS, TELEMETRY, Batch, Lane
from pipeline.spool.progress import Progress, ProgressFile
from pipeline.spool.recovery import Recovery
from pipeline.spool.segment import Segment
from pipeline.spool.shelf import MEMORY_BYTES, Shelf

OWN = "spool"  # the source of what the spool says of itself; its position: how many lost records it has told of
SEGMENTS = 128  # of a full spool, or more
SEGMENT_BYTES = 16 << 10, 1 << 20


class Store:
    """What was appended and not acknowledged yet; not for more than one thread.

    directory: made if it is not there; None or unusable: all stays in memory. limit: bytes on disk. boot: of this
    machine's kernel. now_ms: becomes the epoch of what is said from now on, unless the numbers of an earlier agent
    go on: they do while some of its records wait, lest these come too late.

    lost: records that were dropped or damaged, since ever. Raises UsageProblem: another agent uses the directory.
    """

    def __init__(
        self,
        directory: Path | None,
        limit: int,
        *,
        boot: str,
        now_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost = 0
        self._limit = limit
        self._boot = boot
        self._writes = 0
        self._lock: int | None = None
        self._progress: ProgressFile | None = None
        least, most = SEGMENT_BYTES
        segment_bytes = min(max(limit // SEGMENTS, least), most)
        self._shelf = Shelf(boot, now_ms, segment_bytes, clock)
        if directory:
            try:
                self._enter(directory, now_ms)
            except OSError as error:
                self._leave()
                self._shelf = Shelf(boot, now_ms, segment_bytes, clock)
                self._shelf.fail(error, directory)
        for lane in self._shelf.lanes.values():
            self._shelf.begin(lane)
        self._note()

    @property
    def epoch(self) -> int:
        """What to number with, behind `counts`."""
        return self._shelf.epoch

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        return {which: lane.counts for which, lane in self._shelf.lanes.items()}

    @property
    def trouble(self) -> str:
        """Why the disk is not used, in words."""
        return self._shelf.trouble

    @property
    def where(self) -> str:
        """Where it is, in words."""
        return str(self._shelf.directory) if self._shelf.directory and not self.trouble else "in memory"

    @property
    def untold(self) -> int:
        """Of the lost records, those that nobody has been told of."""
        return self.lost - int(self.position(OWN) or 0)

    @property
    def size(self) -> int:
        return sum(lane.size for lane in self._shelf.lanes.values())

    @property
    def waiting(self) -> int:
        """Records to send."""
        return sum(lane.waiting for lane in self._shelf.lanes.values())

    def lane(self, which: str) -> Lane:
        return self._shelf.lanes[which]

    def position(self, source: str) -> str | None:
        return self._shelf.positions.get(source, (0, None))[1]

    def append(
        self,
        entries: Mapping[str, Sequence[Entry]],
        source: str = "",
        position: str | None = None,
        *,
        counts: Mapping[str, Mapping[str, int]] | None = None,
        urgent: bool = False,
    ) -> None:
        """Add `entries` to their lanes, and remember `position` with the last of them.

        counts: by lane, the newest numbers. urgent: the telemetry tells of faults. Where both lanes get something,
        a crash may leave the telemetry alone; it comes again then.
        """
        before = self.trouble
        self._shelf.mend()
        self._writes += 1
        given = [each for each in (TELEMETRY, FAULTS) if entries.get(each)] or [FAULTS]
        for which in given:
            lane = self.lane(which)
            block = Block(
                write=self._writes,
                first=lane.end,
                source=source,
                position=position if which == given[-1] else None,
                counts=dict((counts or {}).get(which, {})),
                urgent=urgent and which == TELEMETRY,
                entries=list(entries.get(which, ())),
            )
            data = encode(block)
            self._make_room(len(data))
            self._shelf.write(lane, block, data)
        if position is not None:  # only now: a segment that begins shall not know of records that are not there
            self._shelf.positions[source] = self._writes, position
        if self.trouble != before:
            self._note()

    def peek(self, which: str, most: int) -> Batch | None:
        """What to send next of a lane."""
        lane = self.lane(which)
        batch = lane.peek(most)
        if lane.unreadable:
            self.lost, lane.unreadable = self.lost + lane.unreadable, 0
            self._note()
        return batch

    def ack(self, which: str, end: int) -> None:
        """All before `end` has arrived."""
        lane = self.lane(which)
        lane.acked = max(lane.acked, end)
        self._note()
        self._shelf.release(lane)

    def unsynced(self) -> list[int]:
        """Descriptors of what is written and not durable yet, for the caller to make so and to close."""
        return self._shelf.unsynced()

    def failed(self, error: OSError) -> None:
        """What was written could not be made durable: from now on it goes to memory."""
        if not self.trouble and self._shelf.directory:
            self._shelf.fail(error, self._shelf.directory)
            self._note()

    def close(self) -> None:
        """Make all durable and let go; harmless twice."""
        if self._progress and self._lock is not None:
            with suppress(OSError):
                for each in self.unsynced():
                    os.fdatasync(each)
                    os.close(each)
                self._progress.write(self._now(clean=not self.trouble), durable=True)
        self._shelf.close()
        self._leave()

    def _enter(self, directory: Path, now_ms: int) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = place.locked(directory)
        self._progress = ProgressFile(directory / "progress")
        progress, shelf = self._progress.read(), self._shelf
        faults, telemetry = shelf.lanes.values()
        if progress:
            faults.acked, telemetry.acked, self.lost = progress.faults, progress.telemetry, progress.lost
        found = Recovery(directory, shelf.lanes)
        for lane in shelf.lanes.values():
            if not progress:
                lane.acked = lane.segments[0].first if lane.segments else 0
            lane.end = max(lane.end, lane.acked)
        shelf.positions, self._writes, shelf.number = found.positions, found.write, found.number
        self.lost = max(self.lost, int(self.position(OWN) or 0)) + found.lost
        if self._known(found, progress) and self.waiting:
            shelf.epoch = found.epoch
        else:
            shelf.epoch = max(now_ms, found.epoch + 1)
            for lane in shelf.lanes.values():
                lane.counts = {}
        shelf.directory = directory
        self._note(durable=True)

    def _known(self, found: Recovery, progress: Progress | None) -> bool:
        """Whether each number that was ever sent is on disk, so that none is given twice."""
        if found.damaged or progress is None or progress.memory:
            return False
        return progress.clean or found.boot == self._boot != ""

    def _leave(self) -> None:
        if self._progress:
            self._progress.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _make_room(self, need: int) -> None:
        """Within the bounds of disk and memory there shall be room for `need` bytes."""
        while self.size + need > self._limit and self._drop(lambda segment: True):
            pass
        if self.trouble:
            while self._shelf.memory_bytes + need > MEMORY_BYTES and self._drop(lambda segment: not segment.on_disk):
                pass

    def _drop(self, which: Callable[[Segment], bool]) -> bool:
        """Let go of the segment that is missed least: quiet telemetry, other telemetry, faults; the oldest first."""
        for lane in (self.lane(TELEMETRY), self.lane(FAULTS)):
            newest = lane.segments[-1]
            if newest.end > newest.first and which(newest) and not any(map(which, self._shelf.removable(lane))):
                self._shelf.begin(lane)
            found = [segment for segment in self._shelf.removable(lane) if which(segment)]
            if found:
                victim = min(found, key=lambda each: (lane.in_flight(each), each.urgent, each.number))
                self.lost += lane.unsent(victim)
                if victim is lane.segments[0]:
                    lane.acked = max(lane.acked, victim.end)
                self._note()
                self._shelf.remove(lane, victim)
                return True
        return False

    def _note(self, *, durable: bool = False) -> None:
        if self._progress and self._lock is not None:
            with suppress(OSError):  # what was sent is sent again then
                self._progress.write(self._now(), durable=durable)

    def _now(self, clean: bool = False) -> Progress:
        faults, telemetry = self._shelf.lanes.values()
        return Progress(faults.acked, telemetry.acked, self.lost, clean, bool(self.trouble))
