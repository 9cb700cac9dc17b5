"""Discovery by files: each record is one below `$DYN_FILE_KV/v1/`, touched by its worker every few seconds.

A file that is not touched for 10 s belongs to nobody any more: the other workers and the frontends delete it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from sinks.schedulers.adapter import Away, Refused
from sinks.schedulers.dynamo.discovery import Discovery, Key, Record, WorkerGone, parse

UNTOUCHED_MAX_S = 30.0  # three times what Dynamo allows: of two who may be wrong we are the later one

T = TypeVar("T")


class FileDiscovery(Discovery):
    """root: DYN_FILE_KV, as the workers see it."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._instances, self._cards = self._root / "v1/instances", self._root / "v1/mdc"
        self.name = str(root)

    @property
    def place(self) -> str:
        return f"file:{self._root}"

    async def instances(self) -> Mapping[str, Key]:
        return await self._do(lambda: dict(_keys(self._instances)))

    async def read(self, natives: Sequence[str]) -> list[Record]:
        return await self._do(lambda: list(self._read(natives)))

    async def cards(self) -> Mapping[str, tuple[Key, bytes]]:
        def contents() -> dict[str, tuple[Key, bytes]]:
            found = {}
            for native, key in _keys(self._cards):
                with suppress(FileNotFoundError):
                    found[native] = key, (self._cards / native).read_bytes()
            return found

        return await self._do(contents)

    async def living(self, instances: Collection[str]) -> Collection[str]:
        oldest = time.time() - UNTOUCHED_MAX_S
        touched = await self._do(self._touched)
        return {instance for instance in instances if touched.get(instance, 0.0) > oldest}

    async def take_out(self, record: Record) -> bool:
        return await self._do(lambda: self._take_out(record))

    async def put_back(self, record: Record) -> None:
        await self._do(lambda: self._put_back(record))

    def _read(self, natives: Sequence[str]) -> Iterator[Record]:
        for native in natives:
            key = parse(unquote(native))
            if key:
                with suppress(FileNotFoundError):
                    yield Record(key, native, (self._instances / native).read_bytes())

    def _touched(self) -> dict[str, float]:
        """When each worker last touched one of its files."""
        newest: dict[str, float] = {}
        for directory in (self._instances, self._cards):
            for native, key in _keys(directory):
                with suppress(FileNotFoundError):
                    newest[key.instance] = max((directory / native).stat().st_mtime, newest.get(key.instance, 0.0))
        return newest

    def _take_out(self, record: Record) -> bool:
        if all(key.instance != record.key.instance for _, key in _keys(self._cards)):
            raise Refused(f"worker {record.key.instance} has no model card: without its records nobody sees it live")
        path = self._instances / record.native
        with suppress(FileNotFoundError):
            if path.read_bytes() == record.value:
                path.unlink()
                return True
        return False

    def _put_back(self, record: Record) -> None:
        """It gets the age of its worker's other files, so that it never outlives them."""
        touched = self._touched().get(record.key.instance, 0.0)
        if touched <= time.time() - UNTOUCHED_MAX_S:
            raise WorkerGone
        aside = self._root / f".gpu-vitals-{record.native}"  # beside what is watched: no one shall see half of it
        with aside.open("wb") as file:
            file.write(record.value)
            file.flush()
            os.fsync(file.fileno())
        os.utime(aside, (touched, touched))
        with suppress(FileExistsError):  # the worker has done it itself
            os.link(aside, self._instances / record.native)
        aside.unlink()

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except FileNotFoundError as error:
            raise Away(f"{error.filename}: not there: no worker has registered, or it is not DYN_FILE_KV") from None
        except OSError as error:
            raise Away(f"{error.filename or self._root}: {(error.strerror or str(error)).lower()}") from None


def _keys(directory: Path) -> Iterator[tuple[str, Key]]:
    """What is in it: name of the file, and key. Dynamo escapes all but letters and digits as URLs do."""
    for native in sorted(os.listdir(directory)):
        key = parse(unquote(native))
        if key:
            yield native, key
