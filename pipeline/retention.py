"""What the embedded log forgets: records that have outlived their topic and that nobody needs any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from pipeline.sqlite_file import SqliteFile, table
from schemas.topics import OBSERVATIONS, Topic

RECORDS_MAX = 5_000  # a transaction: an append waits for no more than that
COMPACT_RECORDS_MIN = 10_000


class Retention:
    """observations_bytes_max: how much of the observations is kept, as far as no stage needs more."""

    def __init__(self, file: SqliteFile, observations_bytes_max: int) -> None:
        self._file = file
        self._bytes_max = observations_bytes_max
        self._compacted: dict[str, int] = {}

    def prune(self, topic: Topic, needed: Iterable[int]) -> int:
        """Remove some of what may go, and say how much that was; 0 = nothing is left to remove.

        needed: the first offsets that readers still need. The newest record always stays: it carries the next
        offset.
        """
        with self._file.transaction() as db:
            end, stored = self._file.end(db, topic.name)
            limit = min((end - 1, *needed))
            if topic.retention_s is None:
                return self._compact(db, topic.name, limit)
            too_old = self._stream_clock(db) - 1000 * topic.retention_s
            too_much = stored - self._bytes_max if topic.name == OBSERVATIONS else -1
            name = table(topic.name)
            keep = db.execute(
                f'SELECT "offset" FROM {name} WHERE ts >= ? AND stored > ? ORDER BY 1 LIMIT 1',
                (too_old, too_much),
            ).fetchone()
            return db.execute(
                f'DELETE FROM {name} WHERE "offset" IN'
                f' (SELECT "offset" FROM {name} WHERE "offset" < ? ORDER BY 1 LIMIT ?)',
                (min(limit, *keep) if keep else limit, RECORDS_MAX),
            ).rowcount

    def _compact(self, db: sqlite3.Connection, topic: str, limit: int) -> int:
        """Keep the newest record of each key, once enough has come in to be worth a pass over the topic."""
        name, before = table(topic), self._compacted.get(topic, 0)
        kept = db.execute(f'SELECT COUNT(*) FROM {name} WHERE "offset" < ?', (before,)).fetchone()[0]
        if limit - before < max(COMPACT_RECORDS_MIN, kept):
            return 0
        self._compacted[topic] = limit
        newest = f'SELECT MAX("offset") FROM {name} GROUP BY key'
        return db.execute(f'DELETE FROM {name} WHERE "offset" < ? AND "offset" NOT IN ({newest})', (limit,)).rowcount

    def _stream_clock(self, db: sqlite3.Connection) -> int:
        newest = (f'SELECT ts, MAX("offset") FROM {table(topic)}' for topic in sorted(self._file.topics))
        rows: list[tuple[int | None, int]] = db.execute(" UNION ALL ".join(newest)).fetchall()
        return max(ts for ts, _ in rows if ts is not None)
