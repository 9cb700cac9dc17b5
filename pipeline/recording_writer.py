"""Writing recordings so that whatever ends the writing, the next run continues behind the last whole line."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from pipeline.errors import UsageProblem
from pipeline.recording_file import CHUNK_BYTES, ZstdFrames, is_zstd, lines
from schemas.recording import Digest

FRAME_BYTES = 1 << 18
FRAME_S = 5.0


class Last(NamedTuple):
    """The last input of a stage in a recording, with its line as it stands. complete: all before it are there."""

    offset: int
    line: bytes
    complete: bool


class RecordingWriter:
    """Appends lines to `path`, after cutting off what an earlier run left unfinished.

    A file called `.zst` is written in zstd frames of whole lines, some seconds each. last: what each stage's
    input ends with. Raises UsageProblem when the file is no numbered recording, OSError from every method.
    """

    def __init__(self, path: Path, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self.last = _resume(path) if path.exists() else {}
        self._file = path.open("ab", buffering=0)
        self._compress = zstandard.ZstdCompressor().compress if is_zstd(path) else None
        self._pending = bytearray()
        self._frame_due = clock_s() + FRAME_S

    def write(self, line: bytes) -> None:
        self._pending += line
        if len(self._pending) >= FRAME_BYTES:
            self._write()

    def flush(self) -> None:
        """Hand to the system what may not wait any longer: everything, or a zstd frame when its time has come."""
        if self._compress is None or self._clock_s() >= self._frame_due:
            self._write()

    def close(self) -> None:
        try:
            self._write()
        finally:
            self._file.close()

    def _write(self) -> None:
        pending, self._pending = bytes(self._pending), bytearray()
        self._frame_due = self._clock_s() + FRAME_S
        data = self._compress(pending) if self._compress and pending else pending
        while data:
            data = data[self._file.write(data) :]


def _resume(path: Path) -> dict[str, Last]:
    """Cut off what is not whole, and find out where each stage's input ends."""
    other = UsageProblem(f"{path}: is something else, not a recording of a run", "name a new file")
    if not _is_recording(path):  # asked before anything is cut off
        raise other
    os.truncate(path, _whole(path))
    last: dict[str, Last] = {}
    try:
        for line, _ in lines(path):
            place = _decode(line)
            if place.offset is not None:
                before = last.get(place.stage, Last(-1, b"", True))
                complete = before.complete and place.offset == before.offset + 1
                last[place.stage] = Last(place.offset, line, complete)
    except ValueError as error:
        raise other from error
    return last


def _is_recording(path: Path) -> bool:
    """By the first line; the file may be empty, or end within it."""
    try:
        line, whole = next(lines(path), (b"", False))
        return _decode(line) != _Place() if whole else _BEGINNING.startswith(line[: len(_BEGINNING)])
    except EOFError:
        return True
    except (ValueError, zstandard.ZstdError):
        return False


class _Place(msgspec.Struct):
    """What tells where a line belongs; its value is skipped unread."""

    stage: str = "node"
    offset: int | None = None
    digest: Digest | None = None


_BEGINNING = b'{"ts":'
_decode = msgspec.json.Decoder(_Place).decode


def _whole(path: Path) -> int:
    """How many bytes of the file are whole lines, or whole frames."""
    with path.open("rb") as file:
        if is_zstd(path):
            frames = ZstdFrames(file)
            try:
                while frames.read(CHUNK_BYTES):
                    pass
            except (EOFError, zstandard.ZstdError):
                pass  # cut off or damaged: what comes behind cannot be read by anyone
            return frames.whole
        end = file.seek(0, io.SEEK_END)
        while end:
            start = max(0, end - CHUNK_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0
