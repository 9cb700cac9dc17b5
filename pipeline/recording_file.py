"""Reading recordings: files of JSON Lines, plain or in zstd frames."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from pipeline.errors import UsageProblem
from schemas.log import Record
from schemas.recording import UNREADABLE, Digest, Input, read

CHUNK_BYTES = 1 << 16
LINE_BYTES_MAX = 16 << 20
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Recordings:
    """Recordings, one behind the other. Lines without an offset are numbered on; the first is 0.

    notes: what could not be read, in words: a last line that is cut off, a damaged file. Raises UsageProblem
    where a file cannot be opened.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.notes: list[str] = []

    def records(self, stage: str) -> Iterator[Record]:
        """The input of `stage`. A bad line takes its append time from the line before, else from the next."""
        ts = next((line.ts for line in self._lines(0) if isinstance(line, Input) and line.ts), 0)
        offset = -1
        for line in self._lines(ts):
            if isinstance(line, Input) and line.stage == stage:
                offset = offset + 1 if line.offset is None else max(offset + 1, line.offset)
                yield Record(offset, line.ts, line.key, line.kind, line.value)

    def contents(self) -> tuple[set[str], list[Digest]]:
        """The stages whose input there is, and all digests."""
        stages: set[str] = set()
        digests = []
        for line in self._lines(0):
            if isinstance(line, Digest):
                digests.append(line)
            else:
                stages.add(line.stage)
        return stages, digests

    def _lines(self, ts: int) -> Iterator[Input | Digest]:
        for path in self._paths:
            try:
                for data, whole in lines(path):
                    line = read(data, ts)
                    if isinstance(line, Input):
                        if line.kind == UNREADABLE and not whole:
                            self._note(f"{path}: the last line is cut off and left out")
                            continue
                        ts = line.ts
                    if line is not None:
                        yield line
            except (EOFError, zstandard.ZstdError) as error:
                self._note(f"{path}: cannot be read to its end: {error}")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Each line, and whether it is whole: not the file's end without a newline.

    Raises UsageProblem when the file cannot be read, EOFError when it ends within a zstd frame, ZstdError
    when that is damaged.
    """
    try:
        with path.open("rb") as file:
            plain: BinaryIO | io.BufferedReader = file
            if is_zstd(path):
                plain = io.BufferedReader(ZstdFrames(file), CHUNK_BYTES)
            while line := plain.readline(LINE_BYTES_MAX):
                yield line, line.endswith(b"\n") or len(line) == LINE_BYTES_MAX
    except EOFError:
        raise
    except OSError as error:
        raise UsageProblem(
            f"{path}: cannot read the recording: {error.strerror}", "name a file of JSON Lines, plain or .zst"
        ) from error


def is_zstd(path: Path) -> bool:
    """By its name or, whatever it is called, by its first bytes."""
    if path.suffix == ".zst":
        return True
    with path.open("rb") as file:
        return file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC


class ZstdFrames(io.RawIOBase):
    """Reads `file`, zstd frame after zstd frame. whole: where in `file` the last whole frame ends.

    Raises EOFError when the file ends within a frame.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._compressed = b""
        self._plain = b""
        self._read = 0
        self.whole = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(cast(bytearray, buffer))
        while not self._plain:
            if not self._compressed:
                self._compressed = self._file.read(CHUNK_BYTES)
                self._read += len(self._compressed)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the last zstd frame is cut off")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._plain = self._frame.decompress(self._compressed)
            self._compressed = b""
            if self._frame.eof:
                self._compressed = self._frame.unused_data
                self._frame = None
                self.whole = self._read - len(self._compressed)
        count = min(len(self._plain), len(target))
        target[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count
