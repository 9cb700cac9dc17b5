"""`run --record FILE`: every stage's input as it stands on the log, and digests of what it caused."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import UsageProblem
from pipeline.log import Unavailable
from pipeline.recording_writer import Last, RecordingWriter
from pipeline.sqlite_log import SqliteLog
from pipeline.topology import STAGES, Stage
from schemas.log import Origin, Record
from schemas.recording import RunningDigest, render, render_digest

ROUND_S = 0.5
ROUND_RECORDS = 2_048  # of a stage: a long history leaves room for others
DIGEST_OUTPUTS = 1_000
DIGEST_S = 60.0

logger = logging.getLogger(__name__)


class Recorder:
    """Writes to `path` what `log` holds, from the oldest input on; continues an earlier recording of it.

    Digests cover what is caused from now on, and only where the recording has all input since the first: no
    replay could know the state that acted on anything else.

    Raises UsageProblem when `path` cannot be written, or is a recording of something else.
    """

    def __init__(
        self,
        path: Path,
        log: SqliteLog,
        stages: Sequence[Stage] = STAGES,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._log = log
        self._stages = stages
        self._clock_s = clock_s
        try:
            self._open()
        except OSError as error:
            raise UsageProblem(f"{path}: cannot record: {error.strerror}", "name another file") from error

    def _open(self) -> None:
        self._writer = RecordingWriter(self._path, self._clock_s)
        try:
            self._followers = [
                _Follower(self._log, stage, self._writer, self._path, self._clock_s) for stage in self._stages
            ]
        except BaseException:
            self._writer.close()
            raise

    async def run(self) -> None:
        """Record until cancelled. A disk that cannot be written is logged once, and tried again for ever."""
        failing = False
        try:
            while True:
                more = False
                try:
                    if failing:
                        self._open()
                    more = self.round()
                    failing = False
                except (OSError, Unavailable) as error:
                    if not failing:
                        logger.warning("%s: recording waits: %s", self._path, error)
                    failing = True
                    with suppress(OSError):
                        self._writer.close()
                await asyncio.sleep(0 if more else ROUND_S)
        finally:
            self.close()

    def round(self) -> bool:
        """Write what is new; True when there is more."""
        more = [follower.follow() for follower in self._followers]
        self._writer.flush()
        return any(more)

    def close(self) -> None:
        """Write what is left, and the last digests."""
        try:
            while self.round():
                pass
            for follower in self._followers:
                follower.end()
            self._writer.close()
        except (OSError, Unavailable, ValueError) as error:
            logger.warning("%s: the end is not recorded: %s", self._path, error)


class _Follower:
    """Follows one stage: its input, and all its outputs in the order of their origins."""

    def __init__(
        self, log: SqliteLog, stage: Stage, writer: RecordingWriter, path: Path, clock_s: Callable[[], float]
    ) -> None:
        self._log = log
        self._stage = stage
        self._write = writer.write
        self._clock_s = clock_s
        last = writer.last.get(stage.name)
        if last and self._foreign(last):
            raise UsageProblem(f"{path}: is a recording of another log", "name a new file")
        self._next_input = last.offset + 1 if last else 0
        kept = log.tail(stage.input, self._next_input - 1, 1)
        self._provable = (not last or last.complete) and (not kept or kept[0].offset == self._next_input)
        if not self._provable:
            logger.warning("%s: input of %s is gone from the log: no digests for it", path, stage.name)
        # Both at one moment: what comes behind these ends is caused by input from the position on.
        self._cursors = {topic: log.end_offset(topic) for topic in stage.outputs}
        self._position = log.committed(stage.part())
        self._begin(self._position)
        self._hold()

    def _foreign(self, last: Last) -> bool:
        found = self._log.tail(self._stage.input, last.offset - 1, 1)
        if found and found[0].offset == last.offset:
            return render(self._stage.name, found[0]) != last.line
        return not found

    def follow(self) -> bool:
        """Write new input, then digests of what input that is written has caused; True when there is more."""
        batch = self._log.tail(self._stage.input, self._next_input - 1, ROUND_RECORDS)
        for record in batch:
            self._write(render(self._stage.name, record))
        if batch:
            self._next_input = batch[-1].offset + 1
        position = min(self._log.committed(self._stage.part()), self._next_input)
        if position > self._position:
            self._add_outputs(position)
            self._position = position
            if self._digest.outputs >= DIGEST_OUTPUTS or self._clock_s() >= self._digest_due:
                self._close_digest(position)
        self._hold()
        return len(batch) == ROUND_RECORDS

    def end(self) -> None:
        """Write the last digest, and let the log forget."""
        self._close_digest(self._position)
        self._hold(last=True)

    def _add_outputs(self, position: int) -> None:
        streams = [self._outputs(topic, position) for topic in self._stage.outputs]
        caused = -1
        for origin, topic, record in heapq.merge(*streams, key=lambda output: output[0]):
            if self._digest.outputs >= DIGEST_OUTPUTS and origin.offset > caused:
                self._close_digest(origin.offset)
            caused = origin.offset
            self._digest.add(topic, record.key, record.kind, record.value, record.ts)

    def _outputs(self, topic: str, position: int) -> Iterator[tuple[Origin, str, Record]]:
        """This stage's records on `topic` that input below `position` caused."""
        while batch := self._log.tail(topic, self._cursors[topic] - 1):
            for record in batch:
                if record.origin and record.origin.stage == self._stage.name:
                    if record.origin.offset >= position:
                        return
                    yield record.origin, topic, record
                self._cursors[topic] = record.offset + 1

    def _begin(self, offset: int) -> None:
        self._digest_from = offset
        self._digest = RunningDigest(self._stage.name, offset)
        self._digest_due = self._clock_s() + DIGEST_S

    def _close_digest(self, next_offset: int) -> None:
        if next_offset > self._digest_from:
            if self._provable:
                self._write(render_digest(self._digest.digest(next_offset)))
            self._begin(next_offset)

    def _hold(self, last: bool = False) -> None:
        ends = {self._stage.input: self._next_input} | self._cursors
        for topic, offset in ends.items():
            self._log.hold(f"recorder of {self._stage.name}", topic, None if last else offset)
