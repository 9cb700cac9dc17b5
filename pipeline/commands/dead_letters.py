"""`gpu-vitals dead-letters`: what could not be understood, why, and another try at it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.kafka_options import kafka_options
from pipeline.errors import UsageProblem
from schemas.topics import DEAD_LETTER, FLEET_EVENTS, OBSERVATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.kafka.dead_letters import Letter, Wanted
    from pipeline.kafka.retry import Again
    from pipeline.kafka.settings import Kafka
    from pipeline.settings import Settings

ROW = "{:<10}  {:<19}  {:<24}  {:<12}  {}"
DUMP_BYTES = 16  # a line


@click.group(name="dead-letters")
def command() -> None:
    """What could not be understood: which records, why, and how to try them again.

    A dead letter's id is where it stands: PARTITION/OFFSET of the topic.
    """


def filters(function: Any) -> Any:
    for option in (
        click.option("--source", default="", metavar="PLACE", help="Only from this topic, or TOPIC/PARTITION."),
        click.option("--why", default="", metavar="TEXT", help="Only those whose reason holds this text."),
        click.option("--node", default="", metavar="NAME", help="Only those of this node."),
        click.option("--to", "until", metavar="TIME", help="Up to, and without, this time."),
        click.option("--from", "since", metavar="TIME", help="As 2026-01-01T00:10:00Z, or how long ago, as 10m."),
    ):
        function = option(function)
    return function


@command.command(name="list", short_help="List dead letters, the oldest first.")
@filters
@click.option("--json", "as_json", is_flag=True, help="One line of JSON each.")
@kafka_options
def list_(settings: Settings, as_json: bool, **given: Any) -> int:
    """List dead letters, the oldest first: id, time, where it stood, kind and reason."""
    found = asyncio.run(_all(settings.kafka, _wanted(**given)))
    if as_json:
        import msgspec

        for letter in found:
            line = {"id": letter.id, "ts": letter.ts, **msgspec.to_builtins(letter.said)}
            click.echo(msgspec.json.encode(line))
        return 0
    if not found:
        click.echo("no dead letters", err=True)
        return 0
    click.echo(ROW.format("id", "time (UTC)", "source", "kind", "why"))
    for letter in found:
        click.echo(_row(letter, letter.said.why))
    return 0


@command.command(name="show", short_help="Show one dead letter whole.")
@click.argument("id")
@kafka_options
def show(settings: Settings, id: str) -> int:
    """Show one dead letter whole: its bytes as JSON where they are JSON, else in hex and text."""
    from pipeline.moments import shown

    (letter,) = asyncio.run(_named(settings.kafka, (id,)))
    said = letter.said
    node = f"node    {said.node}\n" if said.node else ""
    of = f" of {said.size}" if said.size else ""
    click.echo(
        f"id      {letter.id}\ntime    {shown(letter.ts)} UTC\nsource  {letter.source}\n{node}"
        f"kind    {said.kind}\nwhy     {said.why}\nbytes   {len(said.data)}{of}\n"
    )
    for line in _content(said.kind, said.data):
        click.echo(line)
    return 0


@command.command(name="retry", short_help="Publish again what dead letters are about.")
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All dead letters, or those that the options name.")
@filters
@click.option("--yes/--dry-run", "do_it", default=False, help="Do it, or only say what would be done (the default).")
@kafka_options
def retry(settings: Settings, ids: tuple[str, ...], everything: bool, do_it: bool, **given: Any) -> int:
    """Publish what dead letters are about again, on the topic where it stood, keyed by the node that it names.

    For what can be read since an upgrade, and for what had the wrong key or stood in the wrong partition.
    What would only become a dead letter again is refused, and so is what a stage has derived: it derives it anew.
    Telemetry that its node has since gone beyond is left out by the stage, as any late frame is.

    \b
    Exit status: 0 all of it done (or possible); 1 some of it refused; 2 usage error.
    """
    if bool(ids) == everything:
        raise UsageProblem("name dead letters, or say --all", "`gpu-vitals dead-letters list` shows their ids")
    if ids and any(given.values()):
        raise UsageProblem("--from, --to, --node, --why and --source go with --all", "leave them out, or the ids")
    return asyncio.run(_retry(settings.kafka, ids, _wanted(**given), do_it))


def _wanted(since: str | None, until: str | None, node: str, why: str, source: str) -> Wanted:
    from pipeline.clock import wall_ms
    from pipeline.kafka.dead_letters import Wanted
    from pipeline.moments import parse_moment

    now_ms = wall_ms()
    return Wanted(
        parse_moment("--from", since, now_ms) if since else None,
        parse_moment("--to", until, now_ms) if until else None,
        node,
        why,
        source,
    )


async def _all(kafka: Kafka, wanted: Wanted) -> list[Letter]:
    from pipeline.kafka.dead_letters import letters
    from pipeline.kafka.reading import opened, partitions

    places = await partitions(kafka, DEAD_LETTER)
    async with opened(kafka) as reader:
        return [letter async for letter in letters(reader, places[DEAD_LETTER], wanted)]


async def _named(kafka: Kafka, ids: tuple[str, ...]) -> list[Letter]:
    from pipeline.kafka.dead_letters import named
    from pipeline.kafka.reading import opened, partitions

    places = await partitions(kafka, DEAD_LETTER)
    async with opened(kafka) as reader:
        return await named(reader, places[DEAD_LETTER], ids)


async def _retry(kafka: Kafka, ids: tuple[str, ...], wanted: Wanted, do_it: bool) -> int:
    from pipeline.kafka.reading import opened, partitions
    from pipeline.kafka.retry import Places, Refused, plan, publish

    found = await (_named(kafka, ids) if ids else _all(kafka, wanted))
    inputs = await partitions(kafka, OBSERVATIONS, FLEET_EVENTS)
    planned: list[tuple[Letter, Again | Refused]] = []
    async with opened(kafka) as reader:
        places = await Places.of(reader, inputs)
        for letter in found:
            try:
                planned.append((letter, await plan(reader, places, letter)))
            except Refused as refused:
                planned.append((letter, refused))
        again = [each for _, each in planned if not isinstance(each, Refused)]
        offsets = iter(await publish(kafka, again) if do_it else ())
    for letter, each in planned:
        if isinstance(each, Refused):
            click.echo(_row(letter, f"refused: {each}"))
            continue
        place = f"{each.topic}/{each.partition}" + (f"/{next(offsets)}" if do_it else "")
        notes = "".join(f"; {note}" for note in each.notes)
        click.echo(_row(letter, f"{'is now' if do_it else 'would go to'} {place}{notes}"))
    refused_count = len(planned) - len(again)
    click.echo(
        f"{len(again)} of {len(planned)} {'published again' if do_it else 'can be tried again: --yes does it'}",
        err=True,
    )
    return 1 if refused_count else 0


def _row(letter: Letter, last: str) -> str:
    from pipeline.moments import shown

    return ROW.format(letter.id, shown(letter.ts), str(letter.source), letter.said.kind or "-", last)


def _content(kind: str, data: bytes) -> Iterator[str]:
    import msgspec

    from pipeline.kafka.lines import NOT_UNDERSTOOD, readable

    try:
        yield msgspec.json.format(msgspec.json.encode(readable(kind, data)), indent=2).decode()
        return
    except NOT_UNDERSTOOD:
        pass
    for at in range(0, len(data), DUMP_BYTES):
        row = data[at : at + DUMP_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):<{3 * DUMP_BYTES - 1}}  {text}"
