"""Faults of applications that come to several GPUs of a node at a time, from one job: that job's fault."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.records import KernelFault
from schemas.xid import XidInfo, lookup

HITS_MAX = 64  # that are remembered of a node


class Hit(msgspec.Struct, kw_only=True):
    """A program's fault on one GPU. name: of the process, without the number of its rank. ts: node time of the newest.

    first_ms: stream clock at the first. told: known to be shared.
    """

    row: int
    code: int
    pid: int | None
    name: str
    ts: int
    first_ms: int
    fault: KernelFault
    told: bool = False

    def of_one_job(self, other: Hit) -> bool:
        """By the process, or by its name: a rank each has a GPU of its own, and they end within seconds."""
        return (self.pid is not None and self.pid == other.pid) or (self.name != "" and self.name == other.name)


class SharedFaults:
    """The newest hits of each node."""

    def __init__(self) -> None:
        self._hits: dict[str, list[Hit]] = {}

    def see(
        self, row: int, ts: int, clock_ms: int, fault: KernelFault, info: XidInfo, gpus: int, within_ms: int
    ) -> list[Hit]:
        """All hits of the job that this fault is of, its own the last, if they are on `gpus` GPUs; else none."""
        if not gpus or not info.application or (fault.previous and not lookup(fault.previous).application):
            return []
        node, name = fault.node, fault.process.rstrip("0123456789")
        hit = Hit(row=row, code=info.code, pid=fault.pid, name=name, ts=ts, first_ms=clock_ms, fault=fault)
        known = [each for each in self._hits.get(node, ()) if abs(ts - each.ts) <= within_ms]
        for each in known:
            if (each.row, each.code, each.pid, each.name) == (row, hit.code, hit.pid, name):
                hit.first_ms, hit.ts, hit.told = each.first_ms, max(ts, each.ts), each.told
                known.remove(each)
                break
        self._hits[node] = [*known, hit][-HITS_MAX:]
        job = [each for each in self._hits[node] if each is hit or each.of_one_job(hit)]
        return job if len({each.row for each in job}) >= gpus else []

    def forget(self, row: int) -> None:
        """Another GPU stands in the row, or somebody has vouched for it."""
        for node, hits in [*self._hits.items()]:
            self._hits[node] = [hit for hit in hits if hit.row != row]

    def expire(self, now_ms: int, within_ms: int) -> None:
        """Drop nodes of which nothing new has come for longer than a late line takes."""
        for node, hits in [*self._hits.items()]:
            if all(now_ms - hit.ts > within_ms + 60_000 and now_ms - hit.first_ms > within_ms + 60_000 for hit in hits):
                del self._hits[node]

    def save(self) -> dict[str, Any]:
        return {node: msgspec.to_builtins(hits) for node, hits in sorted(self._hits.items())}

    def load(self, saved: dict[str, Any]) -> None:
        self._hits = {node: msgspec.convert(hits, list[Hit]) for node, hits in saved.items()}
