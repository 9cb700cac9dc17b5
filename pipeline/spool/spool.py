"""The spool as sources and the shipper see it: a log that never refuses, and wakes who sends what is on it."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress

from pipeline.log import Entry
from pipeline.spool.lane import FAULTS, TELEMETRY, Batch
from pipeline.spool.news import News
from pipeline.spool.store import Store
from pipeline.spool.thread import Thread
from producers.numbering import Numbering
from schemas import frames

SYNC_S = 1.0  # telemetry is durable that long after it was written; faults at once
SLOW_S = 10.0  # a disk that takes longer is worth a word


class Spool:
    """`pipeline.log.SourceIngress` on a `Store`, which from now on belongs to this.

    Guarantees: what `append` has returned for survives the process; a moment later (faults) or a second later the
    machine, too. Its order is that of the calls. numbering: of what is appended; it goes on where the store says.

    news: set when there is something to send.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.numbering = Numbering(
            store.epoch, faults=store.counts[FAULTS].items(), telemetry=store.counts[TELEMETRY].items()
        )
        self.news = asyncio.Event()
        self.waiting_since: float | None = None  # loop time of the oldest telemetry that was not asked for
        self.appended_bytes = 0
        self._told = News()
        self._disk = Thread("spool")
        self._syncer = Thread("spool-sync")
        self._unsynced = asyncio.Event()
        self._unsynced_fault = asyncio.Event()
        self._syncing: asyncio.Task[None] | None = None

    async def append(self, topic: str, entries: Sequence[Entry], source: str = "", position: str | None = None) -> None:
        """topic: there is but one that nodes write to."""
        lanes: dict[str, list[Entry]] = {FAULTS: [], TELEMETRY: []}
        for entry in entries:
            lanes[TELEMETRY if entry.kind == frames.KIND else FAULTS].append(entry)
        urgent = [self._told.told(entry.value) for entry in lanes[TELEMETRY]]
        said = {FAULTS: self.numbering.faults, TELEMETRY: self.numbering.telemetry}
        counts = {
            lane: {entry.key: said[lane][entry.key] for entry in given if said[lane][entry.key]}
            for lane, given in lanes.items()
        }
        if any(urgent):
            self.waiting_since = -math.inf
        elif lanes[TELEMETRY] and self.waiting_since is None:
            self.waiting_since = asyncio.get_running_loop().time()
        await self._disk.call(lambda: self.store.append(lanes, source, position, counts=counts, urgent=any(urgent)))
        self.appended_bytes += sum(len(entry.value) for entry in entries)
        self._announce(bool(lanes[FAULTS]))

    async def settle(self) -> bool:
        """Whether all that was appended before is durable on disk now; it waits for that."""
        try:
            descriptors = await self._disk.call(self.store.unsynced)
            await self._syncer.call(lambda: _sync(descriptors))
        except OSError as error:
            await self._disk.call(lambda error=error: self.store.failed(error))  # type: ignore[misc]
        return not self.store.trouble

    async def position(self, source: str) -> str | None:
        return self.store.position(source)

    async def peek(self, lane: str, most: int) -> Batch | None:
        """What to send next of `lane`, some `most` bytes of it."""
        if lane == TELEMETRY:
            self.waiting_since = None
        return await self._disk.call(lambda: self.store.peek(lane, most))

    async def ack(self, batch: Batch) -> None:
        """It has arrived."""
        await self._disk.call(lambda: self.store.ack(batch.lane, batch.end))

    def problems(self) -> dict[str, str]:
        """What only a person can mend."""
        if self.store.trouble:
            return {"spool": self.store.trouble}
        since = self._disk.busy_since
        waits_s = 0.0 if since is None else time.monotonic() - since
        return {"spool": f"the disk has not answered for {waits_s:.0f} s; sources wait"} if waits_s > SLOW_S else {}

    async def close(self) -> None:
        """Make all durable."""
        if self._syncing:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        await self._disk.call(self.store.close)
        self._disk.end()
        self._syncer.end()

    def _announce(self, fault: bool) -> None:
        loop = asyncio.get_running_loop()
        if fault:
            self._unsynced_fault.set()
        self.news.set()
        self._unsynced.set()
        if self._syncing is None:
            self._syncing = loop.create_task(self._keep_synced())

    async def _keep_synced(self) -> None:
        """One call makes durable all that was written before it."""
        while True:
            await self._unsynced.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(SYNC_S):
                    await self._unsynced_fault.wait()
            self._unsynced.clear()
            self._unsynced_fault.clear()
            try:
                descriptors = await self._disk.call(self.store.unsynced)
                await self._syncer.call(lambda given=descriptors: _sync(given))  # type: ignore[misc]
            except OSError as error:
                await self._disk.call(lambda error=error: self.store.failed(error))  # type: ignore[misc]


def _sync(descriptors: Sequence[int]) -> None:
    try:
        for each in descriptors:
            _durable(each)
    finally:
        for each in descriptors:
            os.close(each)


def _durable(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # not all file systems do it for directories
            raise
