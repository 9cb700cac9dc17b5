"""`gpu-vitals policy`: the effective values of a policy, what is wrong with a file, and which one is in force."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.kafka_options import kafka_options
from schemas.counts import counted

if TYPE_CHECKING:
    from pipeline.policies import Row
    from pipeline.settings import Settings
    from processors.policy import Policy

WIDTH = 110
LIMITS = ("warning", "critical", "evict")  # one that is not set is never reached


@click.group(name="policy")
def command() -> None:
    """Show a policy's effective values; check a file; put one in force on Kafka."""


@command.command(short_help="Print every value in force, and why it is that.")
@click.argument("policy", default="default", metavar="[NAME|FILE]")
@click.option("--json", "as_data", is_flag=True, help="Print one JSON object instead of TOML.")
def show(policy: str, as_data: bool) -> None:
    """Print every value in force, with its unit, what the specification says, and why they differ.

    The output is a policy file itself: save it, change it, run with it.
    """
    loaded, rows = effective(policy)
    click.echo(as_json(loaded, rows) if as_data else "\n".join(as_toml(loaded, rows)))


@command.command()
@click.argument("file")
def check(file: str) -> None:
    """Say whether FILE is a sound policy. Exit status: 0 sound, 2 not; errors name the line and the key."""
    loaded, rows = effective(file)
    differing = sum(differs(row) for row in rows)
    own = counted(differing, "differs", "differ")
    click.echo(f"{file}: sound: {loaded.id}, {len(rows)} values, {own} from the specification")


@command.command(short_help="Put a policy in force on Kafka, from this moment on.")
@click.argument("policy", metavar="NAME|FILE")
@kafka_options
def apply(policy: str, settings: Settings) -> None:
    """Put a policy in force on Kafka: from this moment on the running fleet is judged by it.

    Every partition of the observations gets a copy; decisions name the policy that made them. Try it first:
    `gpu-vitals policy check FILE`, then `gpu-vitals replay --from 24h --policy FILE`.
    """
    import asyncio

    from pipeline.kafka.words import apply_policy
    from pipeline.policy_errors import load
    from processors.policy import to_change

    loaded = load(policy)
    partitions = asyncio.run(apply_policy(settings.kafka, to_change(loaded, 0)))
    click.echo(f"{loaded.id} is in force from now on, on {counted(partitions, 'partition')}")


def effective(name_or_path: str) -> tuple[Policy, list[Row]]:
    """The policy and its values; the reasons stand beside those, not among them. Raises UsageProblem."""
    from pipeline import policies, policy_errors

    loaded = policy_errors.load(name_or_path)
    return loaded, [row for row in policies.describe(loaded) if row.key.partition(".")[0] != "reasons"]


def differs(row: Row) -> bool:
    return bool(row.value != row.spec)


def as_toml(policy: Policy, rows: list[Row]) -> Iterator[str]:
    yield f"# {policy.id}: every value in force. What differs from the specification says so, and why."
    for table, group in groupby(sorted(rows, key=_table), _table):
        yield f"\n[{table}]"
        reason = ""
        for row in group:
            if row.reason not in ("", reason):
                reason = row.reason
                yield from textwrap.wrap(reason, WIDTH, initial_indent="# ", subsequent_indent="# ")
            remarks = [row.unit] if row.unit else []
            if differs(row):
                remarks.append(f"specification: {_value(row.key, row.spec)}")
            key, value = row.key.removeprefix(f"{table}."), _value(row.key, row.value)
            line = f"{key} = {value}" if value else f"# {key} is not set"
            yield f"{line:<44}  # {'; '.join(remarks)}" if remarks else line


def as_json(policy: Policy, rows: list[Row]) -> str:
    import msgspec

    values = [
        {
            "key": row.key,
            "value": _finite(row.value),
            "unit": row.unit,
            "specification": _finite(row.spec),
            "differs": differs(row),
            "reason": row.reason,
        }
        for row in rows
    ]
    return msgspec.json.encode({"id": policy.id, "name": policy.name, "values": values}).decode()


def _table(row: Row) -> str:
    """What the row is shown under; the order within it is the policy's own."""
    parts = row.key.split(".")
    return ".".join(parts[: 2 if parts[0] == "signals" else 1])


def _value(key: str, value: Any) -> str:
    """As TOML writes it; "" where it cannot."""
    import msgspec

    if value is None:
        return "inf" if key.rpartition(".")[2] in LIMITS else ""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return msgspec.json.encode(value).decode()


def _finite(value: Any) -> Any:
    """JSON has no infinity ("never"); null would read as "not set"."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
