"""What the embedded log has kept, read beside the process that writes it: the file is opened for reading alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import zstandard

from pipeline.history import Asked, Take
from pipeline.sqlite_file import COLUMNS, FORMAT, DataDirectoryError, table
from schemas.log import Origin, Record
from schemas.topics import OBSERVATIONS

BATCH_RECORDS = 2_000
BUSY_S = 10.0


class SqliteHistory:
    """directory: holds `log.db`. Everything raises DataDirectoryError where that is not there or cannot be read."""

    def __init__(self, directory: Path) -> None:
        self.where = str(directory)
        self.heard_within = "as far back as observations are kept"
        self.forgets = True
        self.notes: list[str] = []
        self._path = directory / "log.db"
        self._unpack = zstandard.ZstdDecompressor().decompress
        if not self._path.exists():
            raise DataDirectoryError(f"{directory}: holds no log", "name the --data-dir of a `gpu-vitals run`")

    def span(self, topics: Sequence[str]) -> tuple[int, int] | None:
        with self._opened() as db:
            found = [
                row
                for topic in self._there(db, topics)
                if (row := db.execute(f"SELECT MIN(ts), MAX(ts) FROM {table(topic)}").fetchone())[0] is not None
            ]
        return (min(oldest for oldest, _ in found), max(newest for _, newest in found)) if found else None

    def read(self, asked: Sequence[Asked], take: Take) -> None:
        with self._opened() as db:
            there = set(self._there(db, [each.topic for each in asked]))
            for each in asked:
                if each.topic in there:
                    self._read(db, each, take)

    def heard(self, node: str) -> int | None:
        with self._opened() as db:
            if not self._there(db, [OBSERVATIONS]):
                return None
            query = f'SELECT ts FROM {table(OBSERVATIONS)} WHERE key = ? ORDER BY "offset" DESC LIMIT 1'
            row = db.execute(query, (node,)).fetchone()
        return row[0] if row else None

    def since(self, topics: Sequence[str], ms: int) -> dict[str, int]:
        """Behind the newest record of each of `topics` that is older than `ms`, by append time."""
        newest = 'SELECT "offset" FROM {} WHERE ts < ? ORDER BY "offset" DESC LIMIT 1'
        with self._opened() as db:
            there = self._there(db, topics)
            rows = {topic: db.execute(newest.format(table(topic)), (ms,)).fetchone() for topic in there}
        return {topic: row[0] + 1 if (row := rows.get(topic)) else 0 for topic in topics}

    def news(self, begin: dict[str, int], stage: str, take: Take) -> int:
        """Hands over what has come from `begin` on, which it moves on; returns where `stage` has committed to go on.

        All that the stage's records before that have caused has been handed over.
        """
        with self._opened() as db:
            row = db.execute("SELECT next_offset FROM positions WHERE stage = ? AND partition = 0", (stage,)).fetchone()
            for topic in self._there(db, list(begin)):
                begin[topic] = self._read(db, Asked(topic), take, begin[topic])
        return row[0] if row else 0

    def _read(self, db: sqlite3.Connection, asked: Asked, take: Take, begin: int = 0) -> int:
        """Batch by batch: no lock is held for long, and the writer may go on. Returns where it goes on itself."""
        choice, values = _choice(asked)
        query = f'SELECT {COLUMNS} FROM {table(asked.topic)} WHERE "offset" > ?{choice} ORDER BY "offset" LIMIT ?'
        offset = begin - 1
        while rows := db.execute(query, (offset, *values, BATCH_RECORDS)).fetchall():
            for at, ts, key, kind, packed, value, *by in rows:
                origin = Origin(*by) if by[0] else None
                take(asked.topic, Record(at, ts, key, kind, self._unpack(value) if packed else value, origin))
            offset = rows[-1][0]
        return offset + 1

    def _there(self, db: sqlite3.Connection, topics: Sequence[str]) -> list[str]:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return [topic for topic in dict.fromkeys(topics) if f"{topic}/0" in names]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            db = self._connect()
            try:
                yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            raise DataDirectoryError(f"{self._path}: {error}", "name another data directory") from None

    def _connect(self) -> sqlite3.Connection:
        """Where even the shared index beside the file cannot be made, nobody writes: as a file that never changes."""
        for how in ("mode=ro", "immutable=1"):
            db = sqlite3.connect(f"{self._path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY_S)
            try:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                db.close()
                if how == "immutable=1":
                    raise
                continue
            except BaseException:
                db.close()
                raise
            if version > FORMAT:
                db.close()
                raise DataDirectoryError(
                    f"{self._path}: written by a newer version (format {version}, this one reads {FORMAT})", "upgrade"
                )
            return db
        raise AssertionError("one of the two ways has returned or raised")


def _choice(asked: Asked) -> tuple[str, list[object]]:
    """As SQL behind a WHERE, and its values."""
    text = ""
    values: list[object] = []
    if asked.since is not None:
        text += " AND ts >= ?"
        values.append(asked.since)
    for column, chosen in (("key", asked.keys), ("kind", asked.kinds)):
        if chosen is not None:
            text += f" AND {column} IN ({', '.join('?' * len(chosen))})"
            values.extend(sorted(chosen))
    return text, values
