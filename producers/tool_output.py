"""The base of sources that read what a tool has printed into a file: once, or each time it is written anew."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from pathlib import Path
from typing import NamedTuple

from producers.blocking import Blocking
from producers.host import hostname
from producers.source import Ended, Observed, Source, SourceError
from schemas import records

FILE_BYTES_MAX = 64 << 20
POLL_S = 1.0


class Printed(NamedTuple):
    """What stands in the file. mark: tells it from what stands there another time. ts: when it was written, ms."""

    mark: str
    ts: int
    text: str


class ToolOutput(Source):
    """node: whose output it is; None = the file's name without suffix, with `follow` this machine.

    follow: wait until the file is written anew. own_clock: append times are those at which it was written.
    """

    kind: str  # as it is named to `--source`

    def __init__(
        self,
        path: str | Path,
        *,
        node: str | None = None,
        cluster: str = "default",
        follow: bool = False,
        own_clock: bool = False,
    ) -> None:
        self.name = f"{self.kind}:{path}"
        self.owns_clock = own_clock
        self._path = Path(path)
        self._given_node = node
        self._node = node or (hostname() if follow else self._path.stem)
        self._cluster = cluster
        self._follow = follow
        self._blocking = Blocking()
        self._opened = False
        self._read: str | None = None  # the mark of what has been read

    @abstractmethod
    def understand(self, printed: Printed) -> tuple[list[records.Observation], list[str]]:
        """The observations, and in words what could not be used."""

    async def open(self, after: str | None) -> None:
        await self._blocking.call(self._mark)  # a file that is not there is told at once
        self._opened, self._read = True, after

    async def read(self) -> list[Observed]:
        if not self._opened:
            raise SourceError(f"{self._path}: the file is not open")
        if await self._blocking.call(self._mark) == self._read:
            if not self._follow:
                raise Ended
            await asyncio.sleep(POLL_S)
            return []
        printed = await self._blocking.call(self._print)
        found, notes = self.understand(printed)
        if not found:
            raise SourceError(f"{self._path}: nothing can be used: {'; '.join(notes) or 'no GPU is named there'}")
        self._read = printed.mark
        if notes:
            found.append(self._status(printed, "; ".join(notes)))
        return [self._observed(observation) for observation in found]

    def position(self) -> str | None:
        return self._read

    async def close(self) -> None:
        self._opened = False

    def _mark(self) -> str:
        try:
            found = self._path.stat()
        except OSError as error:
            raise SourceError(f"{self._path}: cannot read the tool's output: {error.strerror}") from error
        return f"{found.st_mtime_ns}:{found.st_size}"

    def _print(self) -> Printed:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise SourceError(f"{self._path}: cannot read the tool's output: {error.strerror}") from error
        if len(data) > FILE_BYTES_MAX:
            raise SourceError(f"{self._path}: larger than {FILE_BYTES_MAX >> 20} MiB: this is no tool's output")
        mark = f"{found.st_mtime_ns}:{found.st_size}"
        return Printed(mark, found.st_mtime_ns // 1_000_000, data.decode("utf-8", "replace"))

    def _status(self, printed: Printed, detail: str) -> records.SourceStatus:
        return records.SourceStatus(
            ts=printed.ts, cluster=self._cluster, node=self._node, source=self.name, state="ok", detail=detail
        )

    def _observed(self, said: records.Observation) -> Observed:
        kind = str(type(said).__struct_config__.tag)
        return Observed(said.node, kind, records.encode(said), said.ts if self.owns_clock else None)
