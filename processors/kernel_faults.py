"""Which kernel faults are news: reports of one fault by two sources are one, identical ones in a row coalesce."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from schemas.records import KernelFault
from schemas.xid import lookup

TWO_SOURCES_MS = 2_000  # kernel log and DCGM report the same fault within this time
SAID_AGAIN_MS = 1_000  # lines of one moment come together; what says that moment again later is no new line
FORGET_MS = 60_000  # a node's lines may come that much late
REMEMBER_MS = 86_400_000  # a "last Xid" may be shown, or a log read, again
TELL_EVERY_MS = 60_000  # how often lines without a record of their own are told of

Says = tuple[str, int | None, int, int, str]  # all that may be answered differently: see `FaultIntake`


class Key(NamedTuple):
    """row: of the GPU; -1: of a switch, or of a GPU that is not named, then with its node.

    part: of a GPU the MIG instance that the fault stays inside; else the BDF that is printed.
    """

    row: int
    code: int
    fault: str
    node: str = ""
    part: str = ""


class News(NamedTuple):
    """kind: "new", "repeat" (within the coalescing time of a counted one), "same" (a repeat that says nothing else than
    the line before) or "double" (said before, or another source's report of it). left_out: no record of its own.
    """

    kind: str
    left_out: bool


class Run(msgspec.Struct, array_like=True):
    """Lines of one fault of one GPU. Times of the node: ts of the counted one, line_ts of the newest.

    said_ts, said_ms, said_by: the newest line's own time, the stream clock when that was first said, and who said it.
    told_ms: stream clock at the last record. left, fault: how many lines have none since, and the newest of them.
    """

    ts: int
    source: str
    line_ts: int
    said_ts: int
    said_ms: int
    said_by: str
    seen_ms: int
    says: Says
    told_ms: int
    counted: bool = True
    left: int = 0
    fault: KernelFault | None = None


class LeftOut(NamedTuple):
    """Lines that have no record of their own: the newest, its time, and how many before it."""

    key: Key
    fault: KernelFault
    ts: int
    before: int


class FaultLog:
    """The newest occurrence of each fault of each GPU."""

    def __init__(self) -> None:
        self._runs: dict[Key, Run] = {}

    def see(self, key: Key, fault: KernelFault, ts: int, clock_ms: int, coalesce_ms: int, says: Says) -> News:
        """Take a line in. ts: its time, corrected. clock_ms: the stream clock."""
        run = self._runs.get(key)
        if run is None:
            self._runs[key] = Run(
                ts, fault.source, ts, fault.ts, clock_ms, fault.source, clock_ms, says, told_ms=clock_ms
            )
            return News("new", left_out=False)
        run.seen_ms = clock_ms
        if (fault.ts, fault.source) == (run.said_ts, run.said_by):
            if clock_ms - run.said_ms >= SAID_AGAIN_MS:
                return News("double", left_out=True)
        else:
            run.said_ts, run.said_ms, run.said_by = fault.ts, clock_ms, fault.source
        age = abs(ts - run.ts) if run.counted else TWO_SOURCES_MS + coalesce_ms
        if fault.source != run.source and age <= TWO_SOURCES_MS:
            return News("double", left_out=True)
        repeat = age < coalesce_ms
        left_out = repeat or (run.counted and abs(ts - run.line_ts) < coalesce_ms)
        same = repeat and says == run.says
        run.line_ts, run.says = ts, says
        if not repeat:
            run.ts, run.source, run.counted = ts, fault.source, True
        if left_out:
            run.left, run.fault = run.left + 1, fault
        else:
            run.told_ms = clock_ms
        return News("same" if same else "repeat" if repeat else "new", left_out)

    def due(self, now_ms: int) -> Iterator[LeftOut]:
        """What has been left out for long enough, to be told now."""
        for key in sorted(key for key, run in self._runs.items() if run.left):
            run = self._runs[key]
            if now_ms - run.told_ms >= TELL_EVERY_MS and run.fault is not None:
                yield LeftOut(key, run.fault, run.line_ts, run.left - 1)
                run.left, run.fault, run.told_ms = 0, None, now_ms

    def restart(self, row: int) -> None:
        """Somebody vouches for the GPU: whatever comes next is new."""
        for key, run in self._runs.items():
            if key.row == row:
                run.counted = False

    def forget(self, row: int) -> None:
        """Another GPU stands in the row."""
        self._runs = {key: run for key, run in self._runs.items() if key.row != row}

    def expire(self, now_ms: int, coalesce_ms: int) -> None:
        """Drop what nothing can coalesce with any more, nor say again; of codes without end, the sooner."""

        def keep_ms(key: Key) -> int:
            known = key.fault == "xid" and lookup(key.code).source != "none"
            return max(coalesce_ms + FORGET_MS, REMEMBER_MS if known and key.row >= 0 else 0)

        gone = [key for key, run in self._runs.items() if not run.left and now_ms - run.seen_ms >= keep_ms(key)]
        for key in gone:
            del self._runs[key]

    def save(self) -> list[list[Any]]:
        return [[*key, msgspec.to_builtins(run)] for key, run in sorted(self._runs.items())]

    def load(self, saved: list[list[Any]]) -> None:
        for *key, run in saved:
            self._runs[Key._make(key)] = msgspec.convert(run, Run)
