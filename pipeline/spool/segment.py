"""A segment: a piece of a lane, written at its end only, on disk or in memory."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

HALF = ".half"  # what is not complete yet
_NAME = re.compile(r"(faults|telemetry)-(\d{10})\.spool")


def name(lane: str, number: int) -> str:
    return f"{lane}-{number:010d}.spool"


def parse_name(text: str) -> tuple[str, int] | None:
    """Lane and number; None: no segment of ours."""
    match = _NAME.fullmatch(text)
    return (match[1], int(match[2])) if match else None


class Segment:
    """path: None = in memory. first, end: numbers of its first record and of the one behind its last.

    A write that fails leaves what was written before it, and is tried again by nobody.
    """

    def __init__(self, number: int, first: int, path: Path | None) -> None:
        self.number = number
        self.first = self.end = first
        self.size = 0
        self.urgent = False
        self.unsynced = False
        self._path = path
        self._memory = bytearray()
        self._file: int | None = None
        if path:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self.size = os.fstat(self._file).st_size
            self.unsynced = self.size > 0  # who knows what became of what an earlier process wrote

    @property
    def on_disk(self) -> bool:
        return self._path is not None

    def write(self, data: bytes) -> None:
        """Raises OSError; nothing of `data` is there then."""
        if self._file is None:
            self._memory += data
        else:
            _write(self._file, data, self.size)
        self.size += len(data)
        self.unsynced = True

    def read(self, at: int) -> bytes:
        """All from `at` on."""
        if self._file is None:
            return bytes(self._memory[at:])
        return os.pread(self._file, self.size - at, at)

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes."""
        assert self._file is not None
        os.ftruncate(self._file, size)
        self.size = size

    def replace(self, data: bytes) -> None:
        """Have `data` instead of what there is; the file is the old one or the new one whatever happens."""
        assert self._path
        half = self._path.with_suffix(HALF)
        file = os.open(half, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(file, data, 0)
            os.fdatasync(file)
            os.replace(half, self._path)
        except OSError:
            os.close(file)
            raise
        self.close()
        self._file, self.size = file, len(data)

    def to_disk(self, path: Path) -> None:
        """What is in memory goes to `path`. Raises OSError: it stays where it is."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(file, bytes(self._memory), 0)
            os.fdatasync(file)
        except OSError:
            os.close(file)
            with suppress(OSError):
                path.unlink()
            raise
        self._file, self._path, self._memory = file, path, bytearray()

    def make_durable(self) -> None:
        """As far as the disk can; whoever syncs in time says so when it cannot."""
        if self._file is not None and self.unsynced:
            with suppress(OSError):
                os.fdatasync(self._file)
                self.unsynced = False

    def descriptor(self) -> int | None:
        """A descriptor of its own for whoever makes it durable; None: nothing is to be done."""
        if self._file is None or not self.unsynced:
            return None
        self.unsynced = False
        return os.dup(self._file)

    def remove(self) -> None:
        self.close()
        self._memory = bytearray()
        if self._path:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _write(file: int, data: bytes, at: int) -> None:
    """`data` behind the `at` bytes that are there, or not at all."""
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(file, left) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, at)
        raise
