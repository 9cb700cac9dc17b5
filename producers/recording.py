"""Source `recording:FILE`: the observations of an earlier run, or of your own data, with their append times."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import zstandard

from producers.blocking import Blocking
from producers.source import Ended, Observed, Source, SourceError
from schemas import recording

LINES_PER_READ = 200
LINE_BYTES_MAX = 16 * 1024 * 1024


class _Place(NamedTuple):
    """How far a recording has been read: lines, and the append time of the last one that could be read."""

    lines: int = 0
    ts: int | None = None

    def __str__(self) -> str:
        return str(self.lines) if self.ts is None else f"{self.lines}@{self.ts}"

    @classmethod
    def parse(cls, text: str) -> _Place:
        lines, _, ts = text.partition("@")
        return cls(int(lines), int(ts) if ts else None)


class RecordingSource(Source):
    """Reads a recording (`.jsonl`, or compressed as `.zst`) to its end; what it holds is the clock.

    Only input of the node stage is read. A line that cannot be understood is handed on as it stands, so that it
    ends as a dead letter and nothing beside it is lost.
    """

    owns_clock = True

    def __init__(self, path: str | Path) -> None:
        self.name = f"recording:{path}"
        self._path = Path(path)
        self._blocking = Blocking()
        self._file: BinaryIO | None = None
        self._place = _Place()

    async def open(self, after: str | None) -> None:
        await self.close()
        place = _Place.parse(after) if after else _Place()

        def start() -> BinaryIO:
            file = open_recording(self._path)
            for _ in range(place.lines):
                self._line(file)
            return file

        self._file = await self._blocking.call(start)
        self._place = place

    async def read(self) -> list[Observed]:
        file, place = self._file, self._place
        if file is None:
            raise SourceError(f"{self._path}: the recording is not open")
        observed, self._place = await self._blocking.call(lambda: self._batch(file, place))
        if self._place == place:
            raise Ended
        return observed

    def position(self) -> str | None:
        return str(self._place)

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None and not self._blocking.busy:  # a call that hangs holds the file's lock
            file.close()

    def _batch(self, file: BinaryIO, place: _Place) -> tuple[list[Observed], _Place]:
        """Some lines from `place` on. One that cannot be read takes the append time of the one before it."""
        observed: list[Observed] = []
        lines, ts = place
        while len(observed) < LINES_PER_READ and (line := self._line(file)):
            lines += 1
            one = recording.read(line, ts or 0)
            if not isinstance(one, recording.Input) or one.stage != "node":
                continue
            if ts is None and one.ts:  # only now is there a time for bad lines at the beginning
                observed = [bad._replace(ts=one.ts) for bad in observed]
            ts = one.ts or None
            observed.append(Observed(one.key, one.kind, one.value, one.ts))
        return observed, _Place(lines, ts)

    def _line(self, file: BinaryIO) -> bytes:
        try:
            return file.readline(LINE_BYTES_MAX)
        except (OSError, zstandard.ZstdError) as error:
            raise SourceError(f"{self._path}: cannot read the recording any further: {error}") from error


def open_recording(path: Path) -> BinaryIO:
    """The recording's lines as bytes, decompressed. Raises SourceError."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: cannot read the recording: {error.strerror}") from error
    if path.suffix != ".zst":
        return file
    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, reader)))
