"""`gpu-vitals run`: the whole pipeline in one process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pipeline.settings import parse_duration

if TYPE_CHECKING:
    from pipeline.settings import Settings


class Duration(click.ParamType):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return parse_duration(value)


@click.command(name="run")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Repeatable: dcgm[://HOST:PORT|:///SOCKET], nvml, kmsg, journal, kernel-log:FILE, exporter:URL|FILE, "
    "nvlink-status:FILE, bandwidth:FILE, diagnostic:[LEVEL@]FILE, simulator:N, recording:FILE.  "
    "[default: what this machine has; without a GPU simulator:64]",
)
@click.option("--policy", metavar="NAME|FILE", help="default, spec, or a TOML file.  [default: default]")
@click.option("--speed", type=float, metavar="X", help="How fast simulated time passes.  [default: 10]")
@click.option(
    "--data-dir",
    metavar="DIR",
    help="Where the log is kept.  [default: of live sources, one per user; else a temporary one]",
)
@click.option("--for", "for_s", type=Duration(), metavar="TIME", help="Stop after that time, as 60s or 5m.")
@click.option("--listen", metavar="[HOST:]PORT", help="Serve /metrics, /healthz, /readyz; loopback if no host.")
@click.option("--json", "json", is_flag=True, default=None, help="Decisions as JSON lines, on a terminal too.")
@click.option("--record", metavar="FILE", help="Record every stage's input and digests, for `replay --verify`.")
@click.option("--follow", is_flag=True, default=None, help="Go on reading kernel logs as they grow, through rotations.")
@click.option("--cluster", metavar="NAME", help="What this machine's records call its cluster.")
@click.option("--node", metavar="NAME", help="What they call this machine.  [default: its host name]")
@click.option("--config", metavar="FILE", help="Settings in TOML.  [default: gpu-vitals.toml, if it exists]")
def command(config: str | None, **flags: Any) -> None:
    """Judge a fleet: sources to decisions, until they end or Ctrl-C.

    On a terminal a live view, else one line of JSON per decision. Flags outrank the environment
    (GPU_VITALS_POLICY and so on), that outranks the settings file. It observes only: nothing is drained or
    reset.

    \b
        $ gpu-vitals run                                  this machine's GPUs; without any a simulated fleet with faults
        $ gpu-vitals run --source kmsg --source exporter:http://localhost:9400/metrics --listen 9108
        $ gpu-vitals run --source recording:night.jsonl.zst --json
    """
    from pipeline import settings
    from pipeline.embedded import run

    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if "sources" in given:
        given["sources"] = list(given["sources"])
    loaded: Settings = settings.load(config, os.environ, given)
    run(loaded, live_view=sys.stdout.isatty() and not loaded.json)
