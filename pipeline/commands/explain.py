"""`gpu-vitals explain`: why a GPU has the weight it has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.log_options import log_options
from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.history import History


@click.command(name="explain", context_settings={"allow_extra_args": True})
@click.argument("gpu")
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judge that first.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for programs.")
@log_options
@click.pass_context
def command(
    context: click.Context,
    open_history: Callable[[tuple[Path, ...]], History],
    gpu: str,
    recordings: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Say why GPU has the weight it has: decision, score, thresholds, incident, kernel faults, and what led there.

    GPU is a UUID, how one begins, or NODE/BDF. A data directory may belong to a pipeline that runs; nothing is
    written. Times are UTC. `GET /v1/gpus/KEY/explain` says the same over HTTP.

    \b
        $ gpu-vitals explain GPU-225c
        $ gpu-vitals explain node-0000/0000:9a:00 --data-dir /var/lib/gpu-vitals
        $ gpu-vitals explain GPU-225c --bootstrap kafka-1:9092 --json
    """
    if context.args:
        more = context.args[0]
        how = f"gpu-vitals explain {gpu} --recording {more}" if Path(more).exists() else "one GPU at a time"
        raise UsageProblem(f"{more}: not said what it is", how)
    from pipeline.explain import explain
    from sinks.explain import text
    from sinks.explain.names import UnknownGpu

    try:
        explanation = explain(open_history(recordings), gpu)
    except UnknownGpu as error:
        raise UsageProblem(error.text, error.help) from None
    if as_json:
        import msgspec

        sys.stdout.buffer.write(msgspec.json.encode(explanation) + b"\n")
    else:
        click.echo(text.render(explanation), nl=False)
    return 0
