"""The lines of a log file from a position on: once to its end, or on and on through rotation."""

from __future__ import annotations

import glob
import os
import re
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from producers.source import SourceError

LINE_BYTES_MAX = 1 << 20  # a longer line comes in parts
GZIP_MAGIC = b"\x1f\x8b"
MARK_BYTES = 256
ROTATED = re.compile(r"[.-][0-9][0-9.T_-]*")  # what logrotate appends: .1, -20260102


class Tail:
    """A position is `inode:offset:mark`, the mark a checksum of what stands before the offset: an inode number is used
    again. A file that was renamed meanwhile is found again; it and those that came after it are read first.

    follow: a line without its end is not given out yet, and the end of the file is not the end. note: what
    could not be continued, in words; empty if nothing.
    """

    def __init__(self, path: Path, after: str | None, *, follow: bool) -> None:
        self.note = ""
        self._path = path
        self._follow = follow
        self._offset = 0
        self._replaced = False  # another file has taken the path: this one grows no more
        self._read: set[int] = set()  # inodes that were read to their end
        self._file = self._resume(after) if after else _open(path)
        self._inode = os.fstat(self._file.fileno()).st_ino

    @property
    def position(self) -> str:
        return f"{self._inode}:{self._offset}:{self._mark(self._file, self._offset)}"

    @property
    def offset(self) -> int:
        return self._offset

    @property
    def modified_ms(self) -> int:
        return os.fstat(self._file.fileno()).st_mtime_ns // 1_000_000

    def line(self) -> bytes | None:
        """The next line with its end; None = no more, for now when following. Raises SourceError."""
        try:
            line = self._file.readline(LINE_BYTES_MAX)
        except OSError as error:
            raise SourceError(f"{self._path}: cannot read the log any further: {error.strerror}") from error
        complete = line.endswith(b"\n") or len(line) == LINE_BYTES_MAX
        if line and (complete or not self._follow or self._replaced):
            self._offset += len(line)
            return line
        if self._follow:
            self._file.seek(self._offset)
            self._turn()
        return None

    def close(self) -> None:
        self._file.close()

    def _turn(self) -> None:
        """At the end of the file: go on with its successor, if there is one."""
        try:
            now = self._path.stat()
        except FileNotFoundError:  # between the rename and the new file
            return
        if now.st_ino == self._inode:
            if now.st_size < self._offset:
                self.note = "the log was cut short while it was read: it is read from its new beginning"
                self._offset = 0
                self._file.seek(0)
        elif not self._replaced:
            self._replaced = True  # its last lines may just have been written: look once more
        else:
            self._go_on()

    def _go_on(self) -> None:
        """In the file that was begun next: several rotations may have passed since somebody looked."""
        written = os.fstat(self._file.fileno()).st_mtime_ns
        self._read.add(self._inode)
        self._file.close()
        later = []
        for sibling in self._siblings():
            try:
                found = sibling.stat()
            except OSError:
                continue
            rotated = ROTATED.fullmatch(sibling.name.removeprefix(self._path.name))
            if rotated and found.st_mtime_ns >= written and found.st_ino not in self._read:
                later.append((found.st_mtime_ns, sibling))
        successor = min(later)[1] if later else self._path
        self._file = _open(successor)
        self._inode, self._offset = os.fstat(self._file.fileno()).st_ino, 0
        self._replaced = successor != self._path

    def _resume(self, after: str) -> BinaryIO:
        inode, offset, *mark = map(int, after.split(":"))
        for candidate in (self._path, *self._siblings()):
            try:
                found = candidate.stat()
            except OSError:
                continue
            if found.st_ino == inode and found.st_size >= offset:
                file = _open(candidate)
                if mark and mark != [self._mark(file, offset)]:
                    file.close()
                    continue
                file.seek(offset)
                self._offset = offset
                self._replaced = candidate != self._path
                return file
        self.note = "the log that was read last is gone: what had been added to it since is lost"
        return _open(self._path)

    def _siblings(self) -> list[Path]:
        return [Path(name) for name in sorted(glob.glob(f"{glob.escape(str(self._path))}?*"))]

    def _mark(self, file: BinaryIO, offset: int) -> int:
        begin = max(0, offset - MARK_BYTES)
        return zlib.crc32(os.pread(file.fileno(), offset - begin, begin))


def _open(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(f"{path}: not a file; a log is read from a file")
        file = path.open("rb")
        if file.peek(2).startswith(GZIP_MAGIC):
            file.close()
            raise SourceError(f"{path}: compressed; unpack it first (gunzip --keep)")
    except OSError as error:
        raise SourceError(f"{path}: cannot read the log: {error.strerror}") from error
    return file
