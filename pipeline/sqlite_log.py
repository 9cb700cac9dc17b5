"""The embedded log: one SQLite file, one process, no broker; every topic has one partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import zstandard

from pipeline.clock import wall_ms
from pipeline.log import Entry, Fenced
from pipeline.retention import Retention
from pipeline.sqlite_file import DataDirectoryError, NewRecord, SqliteFile
from schemas.log import Checkpoint, Origin, Output, Part, Record
from schemas.topics import TOPICS

__all__ = ["DataDirectoryError", "SqliteLog"]

IDLE_S = 1.0
BATCH_RECORDS = 512
CHECKPOINTS_KEPT = 2


class SqliteLog:
    """A `Log` and a `SourceIngress` in the data directory `directory`, which is made if missing.

    clock: append time (ms) of entries that bring none. observations_bytes_max: what `prune` leaves of the
    observations, as far as no stage needs more. linger_s: how long a reader that was woken waits for more to
    come; large batches cost less.

    Raises DataDirectoryError. Every method raises Unavailable when the disk fails; nothing is half written.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        clock: Callable[[], int] = wall_ms,
        observations_bytes_max: int = 1 << 30,
        linger_s: float = 0.02,
    ) -> None:
        self._file = SqliteFile(Path(directory))
        self._retention = Retention(self._file, observations_bytes_max)
        self._clock = clock
        self._linger_s = linger_s
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._restored: set[Part] = set()
        self._holds: dict[tuple[str, str], int] = {}
        self._pack = zstandard.ZstdCompressor(level=1, write_checksum=True).compress
        self._unpack = zstandard.ZstdDecompressor().decompress

    # --- Log ------------------------------------------------------------------------------------------

    async def restore(self, part: Part) -> tuple[Checkpoint | None, int]:
        self._restored.add(part)
        with self._file.access() as db:
            rows = db.execute(
                "SELECT next_offset, data FROM checkpoints WHERE stage = ? AND partition = ? ORDER BY 1 DESC",
                (part.stage, part.partition),
            ).fetchall()
        for next_offset, data in rows:
            with suppress(zstandard.ZstdError):  # damaged; the one before it leads to the same state
                return Checkpoint(next_offset, self._unpack(data)), self.committed(part)
        return None, self.committed(part)

    async def read(self, part: Part, offset: int) -> AsyncGenerator[list[Record]]:
        news = asyncio.Event()
        waiting = self._waiting.setdefault(part.topic, set())
        waiting.add(news)
        try:
            while not self._file.closed:
                news.clear()
                batch = self._file.records(part.topic, offset, BATCH_RECORDS)
                if batch:
                    offset = batch[-1].offset + 1
                    yield batch
                    await asyncio.sleep(0)  # a long backlog leaves room for others
                    continue
                try:
                    async with asyncio.timeout(IDLE_S):
                        await news.wait()
                except TimeoutError:
                    yield []
                else:
                    await asyncio.sleep(self._linger_s)
        finally:
            waiting.discard(news)

    async def commit(
        self, part: Part, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None = None
    ) -> None:
        by_topic: dict[str, list[NewRecord]] = {}
        for out in outputs:
            origin = Origin(part.stage, part.partition, out.offset, out.ordinal)
            by_topic.setdefault(out.topic, []).append((out.ts, out.key, out.kind, out.value, origin))
        owner = (part.stage, part.partition)
        with self._file.transaction() as db:
            if next_offset < (committed := self.committed(part)):
                raise Fenced(f"{part.stage}/{part.partition}: {next_offset} comes after {committed}")
            for topic, records in by_topic.items():
                self._file.insert(db, topic, records)
            db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", (*owner, part.topic, next_offset))
            if checkpoint:
                db.execute(
                    "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)",
                    (*owner, checkpoint.next_offset, self._pack(checkpoint.data)),
                )
                db.execute(
                    "DELETE FROM checkpoints WHERE stage = ?1 AND partition = ?2 AND next_offset <= (SELECT"
                    " next_offset FROM checkpoints WHERE stage = ?1 AND partition = ?2"
                    " ORDER BY 1 DESC LIMIT 1 OFFSET ?3)",
                    (*owner, CHECKPOINTS_KEPT),
                )
        self._wake(*by_topic)

    # --- SourceIngress --------------------------------------------------------------------------------

    async def append(self, topic: str, entries: Sequence[Entry], source: str = "", position: str | None = None) -> None:
        with self._file.transaction() as db:
            if entries:
                now = self._clock()
                records = [(now if e.ts is None else e.ts, e.key, e.kind, e.value, None) for e in entries]
                self._file.insert(db, topic, records)
            if position is not None:
                db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, position))
        if entries:
            self._wake(topic)

    async def position(self, source: str) -> str | None:
        with self._file.access() as db:
            row = db.execute("SELECT position FROM sources WHERE name = ?", (source,)).fetchone()
        return row[0] if row else None

    # --- for sinks, tools and metrics -----------------------------------------------------------------

    def tail(self, topic: str, after_offset: int, limit: int = BATCH_RECORDS) -> list[Record]:
        """At most `limit` records behind `after_offset` (-1: from the oldest kept), without waiting."""
        return self._file.records(topic, after_offset + 1, limit)

    def end_offset(self, topic: str) -> int:
        """The offset that the next record of `topic` gets."""
        with self._file.access() as db:
            return self._file.end(db, topic)[0]

    def committed(self, part: Part) -> int:
        """Offset of the first record that `part` has not committed."""
        with self._file.access() as db:
            row = db.execute(
                "SELECT next_offset FROM positions WHERE stage = ? AND partition = ?",
                (part.stage, part.partition),
            ).fetchone()
        return row[0] if row else 0

    # --- upkeep ---------------------------------------------------------------------------------------

    async def prune(self) -> int:
        """Remove what has outlived its topic's retention on the stream clock; returns how many records.

        Compacted topics keep the newest record of each key. Nothing goes that a stage needs to get back to
        where it is (its oldest kept checkpoint, or all without one) or that is on hold.
        """
        removed = 0
        for topic in sorted(self._file.topics & TOPICS.keys()):
            while count := self._retention.prune(TOPICS[topic], self._needed(topic)):
                removed += count
                await asyncio.sleep(0)
        return removed

    def hold(self, who: str, topic: str, offset: int | None) -> None:
        """From now on `prune` leaves `who` all of `topic` from `offset` on; None: no more."""
        if offset is None:
            self._holds.pop((who, topic), None)
        else:
            self._holds[who, topic] = offset

    def _needed(self, topic: str) -> Iterator[int]:
        yield from (offset for (_, held), offset in self._holds.items() if held == topic)
        parts = {(part.stage, part.partition) for part in self._restored if part.topic == topic}
        with self._file.access() as db:
            parts.update(db.execute("SELECT stage, partition FROM positions WHERE topic = ?", (topic,)))
            for part in parts:
                oldest = db.execute(
                    "SELECT MIN(next_offset) FROM checkpoints WHERE stage = ? AND partition = ?", part
                ).fetchone()
                yield oldest[0] or 0

    async def close(self) -> None:
        """Let go of the data directory; readers end. Harmless twice."""
        self._file.close()
        self._wake(*self._waiting)

    def _wake(self, *topics: str) -> None:
        for topic in topics:
            for news in self._waiting.get(topic, ()):
                news.set()
