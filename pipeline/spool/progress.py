"""How far the spool has been sent, and what it lost: one small file, written in place."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

_FORM = struct.Struct("<QQQ??")
_CHECKSUM = struct.Struct("<I")


class Progress(NamedTuple):
    """faults, telemetry: numbers of the first records that are not acknowledged. lost: records, since ever.

    clean: whoever wrote it had made all else durable and ended. memory: it had records that were not on disk.
    """

    faults: int
    telemetry: int
    lost: int
    clean: bool = False
    memory: bool = False


class ProgressFile:
    """A torn or old one costs nothing but records that are sent twice, with the numbers they had."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> Progress | None:
        data = os.pread(self._file, _FORM.size + _CHECKSUM.size, 0)
        if len(data) < _FORM.size + _CHECKSUM.size:
            return None
        (checksum,) = _CHECKSUM.unpack_from(data, _FORM.size)
        said = data[: _FORM.size]
        return Progress(*_FORM.unpack(said)) if zlib.crc32(said) == checksum else None

    def write(self, progress: Progress, *, durable: bool = False) -> None:
        said = _FORM.pack(*progress)
        os.pwrite(self._file, said + _CHECKSUM.pack(zlib.crc32(said)), 0)
        if durable:
            os.fdatasync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
