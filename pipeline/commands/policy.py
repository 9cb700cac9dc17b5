"""`gpu-vitals policy`: the effective values of a policy, and what is wrong with a file."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.policies import Row
    from processors.policy import Policy

WIDTH = 110


@click.group(name="policy")
def command() -> None:
    """Show a policy's effective values; check a file."""


@command.command()
@click.argument("policy", default="default", metavar="[NAME|FILE]")
@click.option("--json", "as_data", is_flag=True, help="Print one JSON object instead of TOML.")
def show(policy: str, as_data: bool) -> None:
    """Print every value in force, with its unit, what the specification says, and why they differ.

    The output is a policy file itself: save it, change it, run with it.
    """
    from pipeline import policies, policy_errors

    loaded = policy_errors.load(policy)
    rows = policies.describe(loaded)
    click.echo(as_json(loaded, rows) if as_data else "\n".join(as_toml(loaded, rows)))


@command.command()
@click.argument("file")
def check(file: str) -> None:
    """Say whether FILE is a sound policy. Exit status: 0 sound, 2 not; errors name the line and the key."""
    from pipeline import policies, policy_errors

    loaded = policy_errors.load(file)
    rows = policies.describe(loaded)
    differing = sum(differs(row) for row in rows)
    click.echo(f"{file}: sound: {loaded.id}, {len(rows)} values, {differing} differ from the specification")


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
                remarks.append(f"specification: {_value(row.spec)}")
            key = row.key.removeprefix(f"{table}.")
            line = f"{key} = {_value(row.value)}" if row.value is not None else f"# {key} is not set"
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


def _value(value: Any) -> str:
    """As TOML writes it."""
    import msgspec

    if value is None:
        return "not set"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return msgspec.json.encode(value).decode()


def _finite(value: Any) -> Any:
    """JSON has no infinity ("never"); null would read as "not set"."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
