"""Source `exporter:URL` or `exporter:FILE`: what a dcgm-exporter shows, scraped regularly or read once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

from producers.blocking import Blocking
from producers.exporter_page import Reading, Row, frame_of, label, read_page
from producers.host import hostname
from producers.prometheus_text import Page, parse
from producers.scrape import Fetched, fetch, parse_url, read_file
from producers.source import Ended, Observed, Source, SourceError
from schemas import frames, records
from schemas.counts import counted

TIMEOUT_S = 5.0
WAIT_S = 1.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Exporter(Source):
    """One frame per scrape and node; inventory when it changes; an Xid when the last one of a GPU changes.

    node: where the page names none; None = the URL's host (for loopback this machine), or the file's name.
    own_clock: append times are when a file was written. A GPU that the page shows no more is not in the frame,
    but stays in the inventory. An exporter goes on showing a GPU's last Xid, so what a first scrape shows is no
    event, and the same Xid twice in a row is not seen.
    """

    def __init__(
        self,
        target: str,
        *,
        node: str | None = None,
        cluster: str = "default",
        interval_s: float = 1.0,
        timeout_s: float = TIMEOUT_S,
        own_clock: bool = False,
    ) -> None:
        self.name = f"exporter:{target}"
        self._url = parse_url(target) if "://" in target else None
        self.owns_clock = own_clock and self._url is None  # a file has a time of its own
        self._path = Path(target)
        host = self._url.hostname if self._url else self._path.stem
        self._node = node or (hostname() if host is None or host in LOOPBACK else host)
        self._cluster = cluster
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._blocking = Blocking()
        self._next_at: float | None = None  # loop time
        self._read_at: int | None = None  # the file's time when it was read
        self._trouble = ""
        # What earlier scrapes showed; it outlasts failures and what the page leaves out for a while.
        self._inventories: dict[str, dict[str, records.GpuInfo]] = {}
        self._drivers: dict[str, str] = {}
        self._seen: set[tuple[str, str]] = set()
        self._xids: dict[tuple[str, str, str], float] = {}

    async def open(self, after: str | None) -> None:
        """A scrape shows the present: only of a file there is something to resume, that it has been read."""
        self._read_at = int(after) if after else None
        self._trouble = ""

    async def read(self) -> list[Observed]:
        if self._url is None:
            page = await self._blocking.call(lambda: read_file(self._path))
            if page.ts == self._read_at:
                raise Ended
            observed = self._observe(page)
            self._read_at = page.ts
            return observed
        url, clock = self._url, asyncio.get_running_loop().time
        due = clock() if self._next_at is None else self._next_at
        await asyncio.sleep(min(due - clock(), WAIT_S))
        if clock() < due:
            return []
        self._next_at = max(due + self._interval_s, clock())
        return self._observe(await self._blocking.call(lambda: fetch(url, self._timeout_s)))

    def position(self) -> str | None:
        return None if self._read_at is None else str(self._read_at)

    async def close(self) -> None:
        """Nothing is held between scrapes."""

    def _observe(self, fetched: Fetched) -> list[Observed]:
        """All that a page says. Raises SourceError if that is nothing."""
        page = parse(fetched.text)
        reading = read_page(page, node=self._node, cut=bool(fetched.cut))
        trouble = "; ".join(_troubles(fetched, page, reading))
        if not reading.fields and not reading.unidentified:
            raise SourceError(f"{self.name}: {trouble or 'the page holds no metric of DCGM that is known'}")
        observed = self._status(trouble, fetched.ts)
        for node, rows in reading.nodes.items():
            if not fetched.cut:  # a cut page would show less of a GPU than there is
                observed += self._inventory(node, rows, reading.drivers[node], fetched.ts)
            observed += self._new_xids(node, rows, fetched.ts)
            if not fetched.cut:
                self._seen |= {(node, uuid) for uuid in rows}
            if reading.fields:
                frame = frame_of(rows.values(), reading.fields, node=node, cluster=self._cluster, ts=fetched.ts)
                observed.append(self._say(node, frames.KIND, frames.encode(frame), fetched.ts))
        return observed

    def _inventory(self, node: str, rows: dict[str, Row], driver: str, ts: int) -> Iterator[Observed]:
        """The node's GPUs, all that have been seen, if there is news of them."""
        known = self._inventories.setdefault(node, {})
        seen = {uuid: row.info for uuid, row in rows.items()}
        if seen.items() <= known.items() and driver == self._drivers.get(node):
            return
        taken = {info.bdf for info in seen.values() if info.bdf}
        for uuid in [uuid for uuid, info in known.items() if info.bdf in taken]:
            del known[uuid]  # another GPU in its slot, or the same one
        known |= seen
        self._drivers[node] = driver
        inventory = records.Inventory(ts=ts, cluster=self._cluster, node=node, gpus=list(known.values()), driver=driver)
        yield self._say(node, "inventory", records.encode(inventory), ts)

    def _new_xids(self, node: str, rows: dict[str, Row], ts: int) -> Iterator[Observed]:
        """The Xids that came since an earlier scrape showed these GPUs."""
        for uuid, row in rows.items():
            for instance, sample in row.xids.items():
                place = (node, uuid, instance)
                before = self._xids.get(place, 0.0)
                self._xids[place] = sample.value
                if (node, uuid) not in self._seen or sample.value == before or sample.value < 1.0:
                    continue
                fault = records.KernelFault(
                    ts=ts,
                    cluster=self._cluster,
                    node=node,
                    fault="xid",
                    code=int(sample.value),
                    bdf=row.info.bdf,
                    uuid=uuid,
                    gi=int(instance) if instance.isdecimal() else None,
                    message=label(sample, "err_msg"),
                    source=self.name,
                    raw=sample.line,
                )
                yield self._say(node, "kernel", records.encode(fault), ts)

    def _status(self, trouble: str, ts: int) -> list[Observed]:
        """How the page is, if that has changed."""
        if trouble == self._trouble:
            return []
        self._trouble = trouble
        status = records.SourceStatus(
            ts=ts,
            cluster=self._cluster,
            node=self._node,
            source=self.name,
            state="failing" if trouble else "ok",
            detail=trouble,
        )
        return [self._say(self._node, "source", records.encode(status), ts)]

    def _say(self, node: str, kind: str, value: bytes, ts: int) -> Observed:
        return Observed(node, kind, value, ts if self.owns_clock else None)


def _troubles(fetched: Fetched, page: Page, reading: Reading) -> Iterable[str]:
    if fetched.cut:
        yield fetched.cut
    if page.broken:
        broken = counted(len(page.broken), "line is no metric", "lines are no metrics")
        yield f"{broken}, the first is {page.broken[0][:80]!r}"
    if reading.unidentified:
        unidentified = counted(reading.unidentified, "sample names", "samples name")
        yield f"{unidentified} no UUID, so that nobody can tell of which GPU"
