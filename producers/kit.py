"""The contract of a source as a check that everybody can run: `check_source`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from producers.source import Ended, Observed, Source

READS_MAX = 1_000


def check_source(make_source: Callable[[], Source], *, reads: int | None = None) -> list[Observed]:
    """Read the source and check that it keeps its contract; AssertionError tells what it breaks.

    make_source: gives a new, unopened source of the same outside world at each call. reads: how often to read one
    that does not end. Returns what the source said.

    Checked: observations are well formed; a resumed source says exactly the rest, whatever position it is resumed
    at (its own health aside); the end stays the end; close works before, after and twice.
    """
    return asyncio.run(_check(make_source, reads))


async def _check(make_source: Callable[[], Source], reads: int | None) -> list[Observed]:
    await _closes(make_source())
    source = make_source()
    assert source.name, "a source has a name, by which its position is remembered"
    assert source.deadline_s > 0
    await source.open(None)
    said: list[Observed] = []
    marks: list[tuple[str, int]] = []  # a position, and how much had been said there
    for _ in range(READS_MAX if reads is None else reads):
        try:
            batch = await asyncio.wait_for(source.read(), source.deadline_s)
        except Ended:
            await _stays_ended(source)
            break
        for observed in batch:
            _well_formed(observed, source)
        said += batch
        position = source.position()
        if position is not None:
            marks.append((position, len(said)))
    else:
        assert reads is not None, f"{source.name} did not end after {READS_MAX} reads: say how many"
    await _closes(source)

    for position, at in marks:
        resumed = make_source()
        await resumed.open(position)
        rest = await _read(resumed, len(_facts(said[at:])), None if reads is None else reads)
        assert _facts(rest) == _facts(said[at:]), f"resumed at {position}, {source.name} does not say the rest"
        await _closes(resumed)
    return said


async def _read(source: Source, enough: int, reads: int | None) -> list[Observed]:
    said: list[Observed] = []
    for _ in range(READS_MAX if reads is None else reads):
        if reads is not None and len(_facts(said)) >= enough:
            break
        try:
            said += await asyncio.wait_for(source.read(), source.deadline_s)
        except Ended:
            break
    return said


async def _stays_ended(source: Source) -> None:
    try:
        await source.read()
    except Ended:
        return
    raise AssertionError(f"{source.name} had ended, and went on")


async def _closes(source: Source) -> None:
    await source.close()
    await source.close()


def _facts(said: list[Observed]) -> list[Observed]:
    return [observed for observed in said if observed.kind != "source"]


def _well_formed(observed: Observed, source: Source) -> None:
    assert isinstance(observed.node, str), observed
    assert observed.kind, observed
    assert isinstance(observed.value, bytes), observed
    if source.owns_clock:
        assert isinstance(observed.ts, int), f"{source.name} owns the clock, so all it says has a time: {observed}"
    else:
        assert observed.ts is None, f"{source.name} does not own the clock: {observed}"
