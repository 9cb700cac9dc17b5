"""The contract of a sink as a check that any sink can be given to: ours, and those of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from schemas.log import Record
from sinks.sink import Sink


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
    once = await _seen(make, topic, [records])
    assert once != nothing, "the records change nothing that `seen` shows: nothing is checked"
    assert once == await _seen(make, topic, [records]), "rebuilt from the first record it is another"

    singly = [[record] for record in records]
    assert once == await _seen(make, topic, singly), "applied one by one it is another"
    for cut in range(1, len(records)):
        batches = [records[:cut], records[cut:]]
        assert once == await _seen(make, topic, batches), f"cut behind record {cut} it is another"

    assert once == await _seen(make, topic, [records, records]), "applied twice is not as applied once"
    doubled = [batch for record in singly for batch in (record, record)]
    assert once == await _seen(make, topic, doubled), "a record applied twice in a row counts twice"
    for back in range(1, len(records)):
        again = [records, records[-back:]]
        assert once == await _seen(make, topic, again), f"the last {back} records given again count twice"


async def _seen(make: Callable[[], Probe], topic: str, batches: Sequence[Sequence[Record]]) -> Any:
    """What a fresh sink shows after `batches`; closing it, twice even, takes nothing away."""
    sink, seen = make()
    for batch in batches:
        await sink.apply(topic, batch)
    await sink.close()
    await sink.close()
    return seen()
