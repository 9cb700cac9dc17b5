"""Source `kernel-log:FILE`: the faults in a kernel or Fabric Manager log, once or as it grows."""

from __future__ import annotations

import asyncio
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from producers.blocking import Blocking
from producers.host import hostname, now_ms
from producers.kernel_faults import IDENTITY_MARK, KIND, KernelReader
from producers.source import Ended, Observed, Source, SourceError
from producers.tail import Tail
from schemas import records

LINES_PER_READ = 5_000
LINES_PER_READ_MAX = 20_000  # when a fault that is told in several lines never seems to end
POLL_S = 0.25


class _Open(NamedTuple):
    tail: Tail
    reader: KernelReader


class KernelLog(Source):
    """Reads a log from its beginning to its end; with `follow` it waits for more there, through rotations.

    node: of lines that name none; None = the file's name without suffix, with `follow` this machine's: only its own
    log grows here. own_clock: append times are those of the events. A fault gets the UUID of the nearest earlier
    identity line of its GPU, else of the first later one.
    """

    deadline_s = 60.0  # a log of some gigabytes is searched for the names of GPUs first

    def __init__(
        self,
        path: str | Path,
        *,
        node: str | None = None,
        cluster: str = "default",
        timezone: tzinfo | None = None,
        follow: bool = False,
        own_clock: bool = False,
    ) -> None:
        self.name = f"kernel-log:{path}"
        self.owns_clock = own_clock  # a history, or news
        self._path = Path(path)
        self._node = node or (hostname() if follow else self._path.stem)
        self._cluster = cluster
        self._timezone = timezone
        self._follow = follow
        self._blocking = Blocking()
        self._open: _Open | None = None
        self._said = ""
        self._over = False

    async def open(self, after: str | None) -> None:
        await self.close()
        self._open = await self._blocking.call(lambda: self._start(after))
        self._over = False

    async def read(self) -> list[Observed]:
        if self._open is None:
            raise SourceError(f"{self._path}: the log is not open")
        if self._over:
            raise Ended
        tail, reader = self._open
        faults, at_end = await self._blocking.call(lambda: self._lines(tail, reader))
        if at_end and self._follow and (reader.pending or not faults):
            await asyncio.sleep(POLL_S)
            more, at_end = await self._blocking.call(lambda: self._lines(tail, reader))
            faults += more
        faults += reader.flush(otherwise_ms=self._otherwise_ms(tail))
        self._over = at_end and not self._follow
        newest_ms = faults[-1].ts if faults else self._otherwise_ms(tail)
        return [*map(self._observed, faults), *self._notes(tail, reader, newest_ms)]

    def position(self) -> str | None:
        return self._open.tail.position if self._open else None

    async def close(self) -> None:
        opened, self._open = self._open, None
        if opened and not self._blocking.busy:
            opened.tail.close()

    def _start(self, after: str | None) -> _Open:
        tail = Tail(self._path, after, follow=self._follow)
        reader = self._reader()
        reader.identities = self._identities(tail.offset)
        return _Open(tail, reader)

    def _reader(self) -> KernelReader:
        return KernelReader(source=self.name, node=self._node, cluster=self._cluster, timezone=self._timezone)

    def _identities(self, offset: int) -> dict[tuple[str, str], str]:
        """UUIDs from the whole file: the newest before `offset`, else the first behind it."""
        whole, reader = Tail(self._path, None, follow=False), self._reader()
        known: dict[tuple[str, str], str] = {}
        while line := whole.line():
            if IDENTITY_MARK in line:
                reader.feed(line, otherwise_ms=0)
                known = reader.identities | (known if whole.offset > offset else {})
        whole.close()
        return known

    def _lines(self, tail: Tail, reader: KernelReader) -> tuple[list[records.KernelFault], bool]:
        """The faults of the next lines, and whether they were the last. Ends where no fault is half told."""
        faults: list[records.KernelFault] = []
        otherwise_ms = self._otherwise_ms(tail)
        for number in range(LINES_PER_READ_MAX):
            if number >= LINES_PER_READ and not reader.pending:
                return faults, False
            line = tail.line()
            if line is None:
                return faults, True
            faults += reader.feed(line, otherwise_ms=otherwise_ms)
        return faults, False

    def _otherwise_ms(self, tail: Tail) -> int:
        """The time of faults that do not tell their own."""
        return now_ms() if self._follow else tail.modified_ms

    def _observed(self, record: records.KernelFault | records.SourceStatus) -> Observed:
        kind = KIND if isinstance(record, records.KernelFault) else "source"
        return Observed(record.node, kind, records.encode(record), record.ts if self.owns_clock else None)

    def _notes(self, tail: Tail, reader: KernelReader, ts: int) -> list[Observed]:
        """What has to be known to judge the faults, when it is new."""
        said = "; ".join(filter(None, (tail.note, reader.assumptions)))
        tail.note = ""
        if said in ("", self._said):
            return []
        self._said = said
        return [
            self._observed(
                records.SourceStatus(
                    ts=ts, cluster=self._cluster, node=self._node, source=self.name, state="ok", detail=said
                )
            )
        ]
