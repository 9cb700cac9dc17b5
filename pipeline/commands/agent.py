"""`gpu-vitals agent`: what a node's sources see, to Kafka."""

from __future__ import annotations

import asyncio

import click

from pipeline.commands.kafka_options import loaded
from pipeline.errors import UsageProblem
from pipeline.logs import FORMATS, for_service

PAST_MS = 3_600_000  # a simulated fleet that lives faster begins in the past: nobody believes a clock that is ahead


@click.command(name="agent")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Repeatable: kmsg, kernel-log:FILE, exporter:URL|FILE, simulator:N, recording:FILE.",
)
@click.option("--node", metavar="NAME", help="What its records call this machine.  [default: its host name]")
@click.option("--cluster", metavar="NAME", help="What they call its cluster.  [default: default]")
@click.option("--follow", is_flag=True, default=None, help="Go on reading kernel logs as they grow, through rotations.")
@click.option("--speed", type=float, metavar="X", help="How fast simulated time passes.  [default: 1]")
@click.option("--listen", metavar="[HOST:]PORT", help="Serve /metrics, /healthz, /readyz; loopback if no host.")
@click.option("--log-format", type=click.Choice(FORMATS), default="text", help="Of standard error.")
@click.option("--bootstrap", metavar="HOST:PORT,...", help="Kafka's brokers.  [default: 127.0.0.1:9092]")
@click.option("--prefix", metavar="TEXT", help="Of all topics and groups.  [default: gpu-vitals.]")
@click.option("--config", metavar="FILE", help="Settings in TOML.  [default: gpu-vitals.toml, if it exists]")
def command(
    sources: tuple[str, ...],
    node: str | None,
    cluster: str | None,
    follow: bool | None,
    speed: float | None,
    listen: str | None,
    log_format: str,
    bootstrap: str | None,
    prefix: str | None,
    config: str | None,
) -> None:
    """Publish what sources see to Kafka, until they end or a signal comes; while Kafka is away, they wait.

    \b
        $ gpu-vitals agent --bootstrap kafka-1:9092 --source kmsg --source exporter:http://localhost:9400/metrics
        $ gpu-vitals agent --source simulator:64              a simulated fleet with faults, to try things out
    """
    import msgspec

    from pipeline.agent import Agent
    from pipeline.clock import wall_ms
    from pipeline.plan import plan

    for_service(log_format)
    settings = loaded(
        config,
        {"bootstrap": bootstrap, "prefix": prefix},
        sources=list(sources) or None,
        node=node,
        cluster=cluster,
        follow=follow,
        speed=speed,
        listen=listen,
    )
    if not settings.sources:
        raise UsageProblem("no source to read", "name one: --source kmsg, or --source simulator:64 to try it out")
    if any(name.startswith("simulator:") for name in settings.sources) and settings.speed is None:
        settings = msgspec.structs.replace(settings, speed=1.0)
    past_ms = PAST_MS if (settings.speed or 1.0) > 1.0 else 0
    asyncio.run(Agent(settings, plan(settings, wall_ms() - past_ms)).run())
