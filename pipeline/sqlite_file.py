"""The embedded log's file: `log.db` in a data directory that one process holds, as tables of records.

Each topic is a table whose row id is the offset, so that appending touches only its right edge. Any failure
of the disk closes the file; the next access opens it again and finds what is durable, and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import zstandard

from pipeline.errors import UsageProblem
from pipeline.log import Unavailable
from schemas.log import Origin, Record

FORMAT = 1
PACK_BYTES_MIN = 1024

SCHEMA = """
CREATE TABLE positions (
    stage TEXT, partition INTEGER, topic TEXT NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (stage, partition)
) WITHOUT ROWID;
CREATE TABLE checkpoints (
    stage TEXT, partition INTEGER, next_offset INTEGER, data BLOB NOT NULL,
    PRIMARY KEY (stage, partition, next_offset)
);
CREATE TABLE sources (name TEXT PRIMARY KEY, position TEXT NOT NULL) WITHOUT ROWID;
"""
# stored: bytes of values kept in the topic since its beginning, up to this one: bounds are a subtraction.
TOPIC = """
CREATE TABLE {} (
    "offset" INTEGER PRIMARY KEY, ts INTEGER NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL,
    packed INTEGER NOT NULL, value BLOB NOT NULL, stored INTEGER NOT NULL,
    by_stage TEXT, by_partition INTEGER, by_offset INTEGER, by_ordinal INTEGER
)
"""
COLUMNS = '"offset", ts, key, kind, packed, value, by_stage, by_partition, by_offset, by_ordinal'
INSERT = f"INSERT INTO {{}} ({COLUMNS}, stored) VALUES ({', '.join('?' * 11)})"
SELECT = f'SELECT {COLUMNS} FROM {{}} WHERE "offset" >= ? ORDER BY "offset" LIMIT ?'
END = 'SELECT "offset" + 1, stored FROM {} ORDER BY "offset" DESC LIMIT 1'

NewRecord = tuple[int, str, str, bytes, Origin | None]  # ts, key, kind, value, origin


class DataDirectoryError(UsageProblem):
    """The data directory cannot be used: locked, not writable, damaged, or written by a newer version."""


class SqliteFile:
    """Opens, and makes if missing, `log.db` in `directory`. Raises DataDirectoryError."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "log.db"
        self.topics: set[str] = set()
        self._db: sqlite3.Connection | None = None
        self._pack = zstandard.ZstdCompressor(level=1).compress
        self._unpack = zstandard.ZstdDecompressor().decompress
        self._lock: int | None = _lock(directory)
        try:
            with self.access():
                pass
        except Unavailable as error:
            self.close()
            raise DataDirectoryError(str(error.__cause__), "name another data directory") from error
        except BaseException:
            self.close()
            raise

    @property
    def closed(self) -> bool:
        return self._lock is None

    def close(self) -> None:
        """Let go of the file and of the directory; harmless twice."""
        self._drop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def access(self) -> Iterator[sqlite3.Connection]:
        """The open file. Raises Unavailable when the disk fails."""
        if self._lock is None:
            raise Unavailable(f"{self.path}: the log is closed")
        try:
            if self._db is None:
                self._db = self._open()
            yield self._db
        except sqlite3.OperationalError as error:
            self._drop()
            raise Unavailable(f"{self.path}: {error}; nothing is lost, it goes on once the disk does") from error
        except BaseException as error:
            self._drop()
            if type(error) is sqlite3.DatabaseError:  # its subclasses are mistakes of ours
                help = "move the file away, or name another data directory"
                raise DataDirectoryError(f"{self.path}: {error}", help) from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is executed inside becomes durable at its end, or not at all."""
        with self.access() as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    def records(self, topic: str, offset: int, limit: int) -> list[Record]:
        """At most `limit` records of `topic` from `offset` on."""
        with self.access() as db:
            if topic not in self.topics:
                return []
            rows = db.execute(SELECT.format(table(topic)), (offset, limit)).fetchall()
        return [
            Record(at, ts, key, kind, self._unpack(value) if packed else value, Origin(*by) if by[0] else None)
            for at, ts, key, kind, packed, value, *by in rows
        ]

    def insert(self, db: sqlite3.Connection, topic: str, records: Sequence[NewRecord]) -> None:
        """Append to `topic` within a transaction."""
        if topic not in self.topics:
            db.execute(TOPIC.format(table(topic)))
            self.topics.add(topic)  # read anew should this be rolled back
        offset, stored = self.end(db, topic)
        rows: list[tuple[Any, ...]] = []
        for at, (ts, key, kind, value, origin) in enumerate(records, offset):
            kept = self._pack(value) if len(value) >= PACK_BYTES_MIN else value
            if len(kept) > 0.9 * len(value):
                kept = value
            stored += len(kept)
            by = origin[:4] if origin else (None, None, None, None)  # a file made anew is another log
            rows.append((at, ts, key, kind, kept is not value, kept, *by, stored))
        db.executemany(INSERT.format(table(topic)), rows)

    def end(self, db: sqlite3.Connection, topic: str) -> tuple[int, int]:
        """The offset that the next record of `topic` gets, and the bytes stored before it."""
        if topic not in self.topics:
            return 0, 0
        return db.execute(END.format(table(topic))).fetchone() or (0, 0)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT:
                raise DataDirectoryError(
                    f"{self.path}: written by a newer version (format {version}, this one reads {FORMAT})",
                    "upgrade, or name another data directory",
                )
            if version == 0:
                db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
            names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%/0'")
            self.topics = {name.removesuffix("/0") for (name,) in names}
        except BaseException:
            db.close()
            raise
        return db

    def _drop(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()  # rolls back what was not committed
            self._db = None


def table(topic: str) -> str:
    """The table of a topic's only partition, quoted."""
    quoted = topic.replace('"', '""')
    return f'"{quoted}/0"'


def _lock(directory: Path) -> int:
    """Held until closed, or until this process ends in whatever way."""
    handle = -1
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        return handle
    except BlockingIOError as error:
        holder = os.pread(handle, 20, 0).decode() or "unknown"
        os.close(handle)
        raise DataDirectoryError(
            f"{directory}: in use by process {holder}", "stop it, or name another data directory"
        ) from error
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise DataDirectoryError(
            f"{directory}: cannot be written: {error.strerror}", "name another data directory"
        ) from error
