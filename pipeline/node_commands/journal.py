"""What this node was told to do and how far it got, on disk before it is acted on.

A line is the checksum of its text, and the text: JSON. A line that is torn at the end of the file was never acted on,
as nobody acts before the line is durable. One that is damaged elsewhere may hide a step: then nothing is done any more.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from schemas.records import Command, CommandResult

KEPT = 256  # finished commands that are remembered, beside all that are not finished
LINES_MAX = 8 * KEPT  # then the file is written anew
ACCEPTED, STARTED, FINISHED = "accepted", "started", "finished"
# Refused for a time or a number out of all order, which shall not shut out the rest.
NOT_COUNTED = ("clock", "expiry", "expired", "sequence")
MEND = "see what was done to this node lately, then move the file away"


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One command. state: ACCEPTED, STARTED or FINISHED, the last with its result. offset: where Kafka has it.
    reported: the result is in the spool, durably.
    """

    command: Command
    offset: int
    state: str
    result: CommandResult | None = None
    reported: bool = False


class _Line(msgspec.Struct, omit_defaults=True):
    """An entry as it is now. heard, newest_ms: the highest sequence and time of issue of all there ever were."""

    entry: Entry | None = None
    heard: int = 0
    newest_ms: int = 0


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


class Journal:
    """Not for more than one process, nor for more than one thread at a time.

    Guarantees: what `put` has returned for survives the machine. `trouble` says, in words, why nothing can be
    remembered, and hence nothing be done; `put` raises OSError then.
    """

    def __init__(self, path: Path | None) -> None:
        self.entries: dict[str, Entry] = {}  # by id, oldest first
        self.heard = 0
        self.newest_ms = 0
        self.trouble = "" if path else "there is no disk to remember commands on"
        self._path = path
        self._file = -1
        self._lines = 0
        if path:
            try:
                self._open(path)
            except OSError as error:
                self._fail(error)

    def put(self, entry: Entry) -> None:
        """Make it durable, and remember it. Raises OSError: it may or may not have been."""
        if self.trouble:
            raise OSError(self.trouble)
        line = _Line(entry)
        if entry.result is None or entry.result.reason not in NOT_COUNTED:
            line.heard, line.newest_ms = entry.command.sequence, entry.command.ts
        try:
            self._write(self._file, line)
            os.fdatasync(self._file)
            self._take(line)
            if self._lines > LINES_MAX:
                self._rewrite()
        except OSError as error:
            self._fail(error)
            raise

    def close(self) -> None:
        """Harmless twice."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _open(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        data = path.read_bytes()
        good = 0
        for line, end in _whole_lines(data):
            if line is None:
                self.trouble = f"{path}: damaged at byte {good}; {MEND}"
                return
            self._take(line)
            good = end
        os.ftruncate(self._file, good)
        os.fsync(self._file)
        _sync_directory(path.parent)

    def _take(self, line: _Line) -> None:
        self._lines += 1
        self.heard, self.newest_ms = max(self.heard, line.heard), max(self.newest_ms, line.newest_ms)
        if line.entry:
            self.entries[line.entry.command.id] = line.entry
        finished = [id_ for id_, entry in self.entries.items() if entry.state == FINISHED and entry.reported]
        for id_ in finished[: max(0, len(finished) - KEPT)]:
            del self.entries[id_]

    def _rewrite(self) -> None:
        """Only what is remembered, in a new file that takes the place of the old one at once."""
        assert self._path is not None
        fresh = self._path.with_suffix(".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._write(file, _Line(None, self.heard, self.newest_ms))
            for entry in self.entries.values():
                self._write(file, _Line(entry))
            os.fsync(file)
            os.rename(fresh, self._path)
        except OSError:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._lines = file, 1 + len(self.entries)
        _sync_directory(self._path.parent)

    def _write(self, file: int, line: _Line) -> None:
        text = _encode(line)
        data = b"%08x %s\n" % (zlib.crc32(text), text)
        if os.write(file, data) != len(data):
            raise OSError("the disk is full")

    def _fail(self, error: OSError) -> None:
        self.trouble = self.trouble or f"{self._path}: {(error.strerror or str(error)).lower()}"


def _whole_lines(data: bytes) -> Iterator[tuple[_Line | None, int]]:
    """Each line and where it ends; None = damaged. What is torn at the end is left out."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1
        line = _parsed(data[start : end - 1]) if end else None
        last = not end or end == len(data)
        if line is None and last:
            return
        yield line, end
        start = end


def _parsed(data: bytes) -> _Line | None:
    checksum, _, text = data.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return _decode(text)
    except ValueError:
        return None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
