"""`gpu-vitals tail`: what any of our topics on Kafka holds, as lines of JSON."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pipeline.commands.kafka_options import kafka_options
from pipeline.errors import UsageProblem, most_similar
from schemas.topics import STATES, TOPICS

if TYPE_CHECKING:
    from pipeline.kafka.lines import Chosen
    from pipeline.kafka.reading import Reader, Span
    from pipeline.kafka.settings import Kafka
    from pipeline.settings import Settings

WIDER = 8  # how much further back to look when the newest records did not hold enough


class Wanted(NamedTuple):
    """What to show. from_ms, to_ms: times of records, to_ms excluded. limit, last: how many, None = all."""

    topic: str
    chosen: Chosen
    from_ms: int | None
    to_ms: int | None
    limit: int | None
    last: int | None
    follow: bool

    def line(self, message: Any) -> bytes | None:
        from pipeline.kafka.lines import line

        if self.from_ms is not None and message.timestamp < self.from_ms:
            return None
        if self.to_ms is not None and message.timestamp >= self.to_ms:
            return None
        return line(self.topic, message, self.chosen)


@click.command(name="tail")
@click.argument("topic")
@click.option("--follow", "-f", is_flag=True, help="Go on as records come, until interrupted.")
@click.option("--node", default="", metavar="NAME", help="Only what is about this node.")
@click.option(
    "--gpu", default="", metavar="KEY", help="Only what is about this GPU: UUID, PCI address or node/address."
)
@click.option("--from", "since", metavar="TIME", help="As 2026-01-01T00:10:00Z, or how long ago, as 10m.")
@click.option("--to", "until", metavar="TIME", help="Up to, and without, this time.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N records.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Begin with the newest N records.")
@click.option("--uncommitted", is_flag=True, help="Also what was never committed, or is not yet.")
@kafka_options
def command(
    settings: Settings,
    topic: str,
    follow: bool,
    node: str,
    gpu: str,
    since: str | None,
    until: str | None,
    limit: int | None,
    last: int | None,
    uncommitted: bool,
) -> int:
    """Print the records of TOPIC as lines of JSON, from the oldest to those that are there now.

    Times are the records' own: on observations when they were appended, elsewhere when what caused them was.
    Partitions come as they are read; each is in its own order. Groups are not disturbed.
    """
    import asyncio

    from pipeline.clock import wall_ms
    from pipeline.kafka.lines import Chosen
    from pipeline.moments import parse_moment

    if follow and until:
        raise UsageProblem("--follow and --to exclude each other", "leave one of them out")
    now_ms = wall_ms()
    wanted = Wanted(
        known(topic, settings.kafka.prefix),
        Chosen(node, gpu),
        parse_moment("--from", since, now_ms) if since else None,
        parse_moment("--to", until, now_ms) if until else None,
        limit,
        last,
        follow,
    )
    asyncio.run(_print(settings.kafka, wanted, not uncommitted))
    return 0


def known(topic: str, prefix: str) -> str:
    """The topic's name as we declare it; it may have been given with its prefix. Raises UsageProblem."""
    names = [*TOPICS, STATES.name]
    name = topic.removeprefix(prefix)
    if name in names:
        return name
    similar = most_similar(name, names)
    raise UsageProblem(
        f"no such topic: {topic}",
        f"a topic with a similar name exists: `{similar}`" if similar else f"topics: {', '.join(names)}",
    )


async def _print(kafka: Kafka, wanted: Wanted, committed: bool) -> None:
    from pipeline.kafka.reading import opened, partitions

    places = (await partitions(kafka, wanted.topic))[wanted.topic]
    async with opened(kafka, committed=committed) as reader:
        kept = await reader.kept(places)
        if wanted.from_ms is not None:
            starts = await reader.first_at(kept, wanted.from_ms)
            kept = [span._replace(start=starts[span.place]) for span in kept]
        if wanted.to_ms is not None and TOPICS.get(wanted.topic, STATES).appended:  # elsewhere times may fall back
            ends = await reader.first_at(kept, wanted.to_ms)
            kept = [span._replace(end=ends[span.place]) for span in kept]
        printed = 0
        write, flush = sys.stdout.buffer.write, sys.stdout.buffer.flush
        async for lines in _lines(reader, kept, wanted):
            for line in lines:
                write(line)
                printed += 1
                if printed == wanted.limit:
                    return
            flush()


async def _lines(reader: Reader, kept: list[Span], wanted: Wanted) -> AsyncIterator[list[bytes]]:
    from pipeline.kafka.reading import ENDLESS

    if wanted.last is not None:
        yield await _newest(reader, kept, wanted, wanted.last)
        kept = [span._replace(start=span.end) for span in kept]
    if wanted.follow:
        kept = [span._replace(end=ENDLESS) for span in kept]
    async for _, messages in reader.read(kept):
        if lines := [line for line in map(wanted.line, messages) if line]:
            yield lines


async def _newest(reader: Reader, kept: list[Span], wanted: Wanted, count: int) -> list[bytes]:
    """The newest `count` of all partitions, by time: looks further and further back until there are enough."""
    found: list[tuple[int, int, int, bytes]] = []
    for span in kept:
        width = count
        while True:
            start = max(span.start, span.end - width)
            mine = [
                (message.timestamp, message.partition, message.offset, line)
                async for _, messages in reader.read([span._replace(start=start)])
                for message in messages
                if (line := wanted.line(message))
            ]
            if len(mine) >= count or start == span.start:
                break
            width *= WIDER
        found += mine[-count:]
    return [line for *_, line in sorted(found)[-count:]]
