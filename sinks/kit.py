"""The contract of a sink as a check that any sink can be given to: ours, and those of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from schemas.log import Record
from schemas.topics import TOPICS
from sinks.sink import Sink

Batch = tuple[int, Sequence[Record]]  # partition, records of it


class Probe(NamedTuple):
    """A fresh sink, and what the world has of it: a value that can be compared."""

    sink: Sink
    seen: Callable[[], Any]


def check_sink(make: Callable[[], Probe], topic: str, records: Sequence[Record]) -> None:
    """Raises AssertionError, saying which guarantee of `Sink` does not hold for `records` of `topic`.

    records: offsets rising; at least two, and such that they change what `make().seen` returns.
    """
    asyncio.run(_check(make, topic, records))


async def _check(make: Callable[[], Probe], topic: str, records: Sequence[Record]) -> None:
    assert len(records) > 1, "give at least two records"
    declared = make().sink
    assert declared.name, "a sink has a name"
    assert topic in declared.topics, f"{declared.name} does not read {topic}"

    nothing = await _seen(make, topic, [])
    once = await _seen(make, topic, [(0, records)])
    assert once != nothing, "the records change nothing that `seen` shows: nothing is checked"
    assert once == await _seen(make, topic, [(0, records)]), "rebuilt from the first record it is another"

    singly: list[Batch] = [(0, [record]) for record in records]
    assert once == await _seen(make, topic, singly), "applied one by one it is another"
    for cut in range(1, len(records)):
        batches: list[Batch] = [(0, records[:cut]), (0, records[cut:])]
        assert once == await _seen(make, topic, batches), f"cut behind record {cut} it is another"

    assert once == await _seen(make, topic, [(0, records)] * 2), "applied twice is not as applied once"
    doubled = [batch for one in singly for batch in (one, one)]
    assert once == await _seen(make, topic, doubled), "a record applied twice in a row counts twice"
    for back in range(1, len(records)):
        again: list[Batch] = [(0, records), (0, records[-back:])]
        assert once == await _seen(make, topic, again), f"the last {back} records given again count twice"
    if topic in TOPICS and TOPICS[topic].spread:
        await _check_partitions(make, topic, records, once)


async def _check_partitions(make: Callable[[], Probe], topic: str, records: Sequence[Record], once: Any) -> None:
    """Each partition counts its offsets from 0: the same offset in another one is another record."""
    for cut in range(1, len(records)):
        halves: list[Batch] = [(0, _numbered(records[:cut])), (1, _numbered(records[cut:]))]
        split = await _seen(make, topic, halves)
        assert once == split, f"with the records from {cut} on in another partition it is another"
        doubled = await _seen(make, topic, [batch for half in halves for batch in (half, half)])
        assert once == doubled, "a record of another partition applied twice in a row counts twice"


def _numbered(records: Sequence[Record]) -> list[Record]:
    return [record._replace(offset=offset) for offset, record in enumerate(records)]


async def _seen(make: Callable[[], Probe], topic: str, batches: Sequence[Batch]) -> Any:
    """What a fresh sink shows after `batches`; closing it, twice even, takes nothing away."""
    sink, seen = make()
    for partition, records in batches:
        await sink.apply(topic, records, partition)
    await sink.close()
    await sink.close()
    return seen()
