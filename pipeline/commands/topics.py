"""`gpu-vitals topics`: Kafka's topics as declared: shown, created, compared, guarded, grown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.kafka_options import kafka_options
from schemas.counts import counted
from schemas.topics import DAY_S

if TYPE_CHECKING:
    from pipeline.kafka.topics import Wanted
    from pipeline.settings import Settings

ROLES = ("agent", "worker", "sink", "commander", "revalidator", "scheduler", "operator", "reader")

command_config = click.option(
    "--command-config",
    metavar="FILE",
    help="Properties with which Kafka's own tools connect, for the commands that are printed.",
)


@click.group(name="topics")
def command() -> None:
    """Kafka's topics: plan, create and check them; who may do what; more partitions.

    Number of partitions and copies are settings: `[kafka]` partitions and replication.
    """


@command.command()
@kafka_options
@click.option("--json", "as_data", is_flag=True, help="Print one JSON object.")
def plan(settings: Settings, as_data: bool) -> None:
    """Print the topics as they are to be. Asks no broker."""
    from pipeline.kafka.topics import wanted

    planned = wanted(settings.kafka)
    click.echo(as_json(planned) if as_data else as_table(planned))


@command.command()
@kafka_options
def create(settings: Settings) -> None:
    """Create the topics that are missing.

    Those that exist stay as they are, whatever they are: `check` compares.
    """
    from pipeline.kafka import topics

    created = set(asyncio.run(topics.create(settings.kafka)))
    names = [each.name for each in topics.wanted(settings.kafka)]
    for name in names:
        click.echo(f"{name:<{max(map(len, names))}}  {'created' if name in created else 'exists'}")


@command.command()
@kafka_options
@command_config
def check(settings: Settings, command_config: str | None) -> int:
    """Name what differs from the plan, and what mends it.

    Exit status: 0 equal, 1 something differs, 2 no broker answers or usage error.
    """
    from pipeline.kafka.topic_check import check
    from pipeline.kafka.topics import wanted

    report = asyncio.run(check(settings.kafka, command_config))
    for topic, what, mend in report.differences:
        click.echo(f"{topic}: {what}\n  mend: {mend}")
    for name in report.unknown:
        click.echo(f"note: {name}: none of ours, though it has our prefix", err=True)
    if report.differences:
        return 1
    click.echo(f"equal: {len(wanted(settings.kafka))} topics")
    return 0


@command.command()
@kafka_options
@click.option("--role", type=click.Choice(ROLES), help="Only this one.")
@click.option("--principal", metavar="User:NAME", help="Who gets it.  [default: User:gpu-vitals-ROLE]")
@command_config
def acls(settings: Settings, role: str | None, principal: str | None, command_config: str | None) -> None:
    """Print the commands that let each role do its work.

    They allow what the role needs and nothing more. Asks no broker.
    """
    from pipeline.kafka import acls

    for each in (role,) if role else ROLES:
        click.echo(f"# {each}: {acls.ROLES[each]}")
        for line in acls.commands(settings.kafka, each, principal or f"User:gpu-vitals-{each}", command_config):
            click.echo(line)


@command.command()
@kafka_options
@click.option("--partitions", type=click.IntRange(1, 10_000), help="How many to have.  [default: as planned]")
def reshard(settings: Settings, partitions: int | None) -> None:
    """Spread the observations over more partitions.

    Every node takes its state along. Offline: stop the agents, let the workers judge all that has come, stop them
    too. The new number is a multiple of the old one. Interrupted at whatever moment, run it again; until it has
    ended no worker starts.
    """
    from pipeline.kafka.reshard import reshard

    wished = partitions or settings.kafka.partitions
    before = asyncio.run(reshard(settings.kafka, wished, lambda step: click.echo(step, err=True)))
    click.echo(
        f"observations: {counted(wished, 'partition')}, {f'{before} before' if before < wished else 'as before'}"
    )
    if settings.kafka.partitions != wished:
        click.echo(f"note: set partitions = {wished} in [kafka] of every settings file", err=True)


def as_table(planned: list[Wanted]) -> str:
    """For people."""
    heads = ("topic", "partitions", "replication", "kept", "time", "record up to", "holds")
    rows = [heads]
    for each in planned:
        rows.append(
            (
                each.name,
                str(each.partitions),
                str(each.replication),
                "compacted" if each.topic.retention_s is None else f"{each.topic.retention_s / DAY_S:g} days",
                each.configs["message.timestamp.type"],
                f"{int(each.configs['max.message.bytes']) / (1 << 20):g} MiB",
                each.topic.about,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    numbers = {1, 2}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_json(planned: list[Wanted]) -> str:
    """For programs: what each topic is created with, in Kafka's own words."""
    import msgspec

    topics: list[dict[str, Any]] = [
        {
            "name": each.name,
            "partitions": each.partitions,
            "replication": each.replication,
            "configs": each.configs,
            "key": each.topic.key,
            "about": each.topic.about,
        }
        for each in planned
    ]
    return msgspec.json.encode({"topics": topics}).decode()
