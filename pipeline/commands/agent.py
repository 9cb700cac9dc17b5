"""`gpu-vitals agent`: what a node's sources see, to Kafka."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.kafka_options import loaded
from pipeline.errors import UsageProblem
from pipeline.logs import FORMATS, for_service

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from producers.finding import Finding

PAST_MS = 3_600_000  # a simulated fleet that lives faster begins in the past: nobody believes a clock that is ahead


@click.command(name="agent")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Repeatable: dcgm[://HOST:PORT|:///SOCKET], nvml, kmsg, journal, kernel-log:FILE, exporter:URL|FILE, "
    "nvlink-status:FILE, bandwidth:FILE, diagnostic:[LEVEL@]FILE, simulator:N, recording:FILE.  "
    "[default: what this machine has]",
)
@click.option("--node", metavar="NAME", help="What its records call this machine.  [default: its host name]")
@click.option("--cluster", metavar="NAME", help="What they call its cluster.  [default: default]")
@click.option("--follow", is_flag=True, default=None, help="Go on reading files: logs as they grow, through rotations.")
@click.option("--speed", type=float, metavar="X", help="How fast simulated time passes.  [default: 1]")
@click.option("--listen", metavar="[HOST:]PORT", help="Serve /metrics, /healthz, /readyz; loopback if no host.")
@click.option("--log-format", type=click.Choice(FORMATS), default="text", help="Of standard error.")
@click.option("--bootstrap", metavar="HOST:PORT,...", help="Kafka's brokers.  [default: 127.0.0.1:9092]")
@click.option("--prefix", metavar="TEXT", help="Of all topics and groups.  [default: gpu-vitals.]")
@click.option("--config", metavar="FILE", help="Settings in TOML.  [default: gpu-vitals.toml, if it exists]")
@click.option(
    "--check", is_flag=True, help="Tell what there is on this node, and how to mend what is not well; then end."
)
@click.option("--json", "as_json", is_flag=True, help="With --check: a line of JSON for each finding.")
def command(
    config: str | None,
    bootstrap: str | None,
    prefix: str | None,
    log_format: str,
    check: bool,
    as_json: bool,
    **flags: Any,
) -> int | None:
    """Publish what this node's sources see to Kafka, until they end or a signal comes.

    Without --source it reads what the machine has: DCGM's engine, else the driver's library (NVML), and the kernel's
    messages. While Kafka is away, what is seen waits on disk.

    \b
        $ gpu-vitals agent --bootstrap kafka-1:9092
        $ gpu-vitals agent --check                            what it would find here; exit status 1 on an error
        $ gpu-vitals agent --source kmsg --source exporter:http://localhost:9400/metrics
        $ gpu-vitals agent --source simulator:64              a simulated fleet with faults, to try things out
    """
    flags["sources"] = list(flags["sources"]) or None
    kafka = {"bootstrap": bootstrap, "prefix": prefix}
    if check:
        return checked(config, kafka, flags, as_json)
    if as_json:
        raise UsageProblem("--json is for --check", "leave it out; --log-format json is for the log")
    import msgspec

    from pipeline.agent import Agent
    from pipeline.clock import wall_ms
    from pipeline.plan import plan
    from pipeline.sparing import spare

    for_service(log_format)
    spare()
    settings = loaded(config, kafka, **flags)
    if any(name.startswith("simulator:") for name in settings.sources) and settings.speed is None:
        settings = msgspec.structs.replace(settings, speed=1.0)
    past_ms = PAST_MS if (settings.speed or 1.0) > 1.0 else 0
    asyncio.run(Agent(settings, plan(settings, wall_ms() - past_ms, simulate=False)).run())
    return None


def checked(config: str | None, kafka: dict[str, Any], flags: dict[str, Any], as_json: bool) -> int:
    """Print what a check finds. Settings that are wrong are a finding: the rest is looked at without them."""
    from pipeline import agent_check, settings
    from producers.finding import Finding

    try:
        found = loaded(config, kafka, **flags)
        used = Finding("settings", "ok", in_force(config, found))
    except UsageProblem as problem:
        found, used = settings.Settings(), Finding("settings", "error", problem.text, problem.help)
    findings = [used, *asyncio.run(agent_check.check(found))]
    show(findings, as_json)
    return 1 if any(finding.state == "error" for finding in findings) else 0


def in_force(config: str | None, settings: Settings) -> str:
    """Where the settings come from, and what they call this node."""
    from pathlib import Path

    from pipeline.settings import FILE
    from producers.host import hostname

    file = config or (FILE if Path(FILE).exists() else "")
    return f"{file or 'no file'}; node {settings.node or hostname()}, cluster {settings.cluster}"


def show(findings: Sequence[Finding], as_json: bool) -> None:
    """A table; in each line what there is, below it how to mend it."""
    import msgspec

    if as_json:
        for finding in findings:
            sys.stdout.buffer.write(msgspec.json.encode(finding._asdict()) + b"\n")
        return
    width = max(len(finding.what) for finding in findings)
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    for finding in findings:
        state = click.style(f"{finding.state:7}", fg=colours.get(finding.state), bold=True)
        click.echo(f"{state}  {finding.what:{width}}  {finding.found}")
        if finding.fix:
            click.echo(f"{'':7}  {'':{width}}  fix: {finding.fix}")
