"""Instance records that were taken out, on disk: they are the only way back.

A file for each worker, written and made durable before its record is deleted, and gone once that is back.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sinks.schedulers.dynamo.discovery import Key

VERSION = 1
SUFFIX = ".json"


class CannotRemember(Exception):
    """The directory cannot be used. The text says why."""


class SavedRecord(msgspec.Struct, frozen=True):
    """As `Record` has them."""

    key: Key
    native: str
    value: bytes
    lease: int = 0


class SavedUnit(msgspec.Struct, frozen=True, kw_only=True):
    """owner: our name, for people. place: the discovery that the records are of. address, gpus: as `Worker` has them.

    records: none where somebody else had taken them out before. removing: it was also asked to let go of its GPUs.
    """

    v: int = VERSION
    owner: str = "gpu-vitals"
    place: str
    unit: str
    records: list[SavedRecord]
    address: str = ""
    gpus: list[str] = []
    note: str = ""
    removing: bool = False


class Saved:
    """One process at a time may have the directory; it is made where it is missing."""

    def __init__(self, directory: Path) -> None:
        """Raises CannotRemember."""
        self._directory = directory
        self._lock = -1
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._units = {(unit.place, unit.unit): unit for unit in map(_read, sorted(directory.glob(f"*{SUFFIX}")))}
        except BlockingIOError:
            self.close()
            raise CannotRemember(f"{directory}: another process uses it") from None
        except OSError as error:
            self.close()
            raise CannotRemember(f"{error.filename or directory}: {(error.strerror or str(error)).lower()}") from None
        except CannotRemember:
            self.close()
            raise

    def of(self, place: str) -> Mapping[str, SavedUnit]:
        """By unit. What belongs to another discovery is left alone."""
        return {unit: saved for (where, unit), saved in self._units.items() if where == place}

    def put(self, saved: SavedUnit) -> None:
        """Durable when it returns. Raises OSError: what was there before still is."""
        path = self._path(saved.place, saved.unit)
        beside = path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(saved)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        self._sync()
        self._units[saved.place, saved.unit] = saved

    def forget(self, place: str, unit: str) -> None:
        """Harmless where it is not there. Raises OSError."""
        self._path(place, unit).unlink(missing_ok=True)
        self._sync()
        self._units.pop((place, unit), None)

    def close(self) -> None:
        """Harmless twice."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _path(self, place: str, unit: str) -> Path:
        return self._directory / f"{unit}-{zlib.crc32(place.encode()):08x}{SUFFIX}"

    def _sync(self) -> None:
        opened = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _read(path: Path) -> SavedUnit:
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedUnit)
    except msgspec.MsgspecError as error:
        raise CannotRemember(f"{path}: damaged ({error}): delete it, and restart the worker it is named for") from None
    if saved.v > VERSION:
        raise CannotRemember(f"{path}: written by a newer gpu-vitals")
    return saved
