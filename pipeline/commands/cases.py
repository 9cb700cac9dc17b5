"""`gpu-vitals cases`: who is out of service or waits to be, and what holds changes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.commands.fleet_options import fleet_options
from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.operators.saying import Fleet


@click.command(name="cases", context_settings={"allow_extra_args": True})
@click.option("--json", "as_json", is_flag=True, help="One JSON object for programs.")
@fleet_options
@click.pass_context
def command(context: click.Context, fleet: Fleet, as_json: bool) -> None:
    """List the GPUs that are out of service or wait to be, and what holds changes back.

    A data directory may belong to a pipeline that runs; nothing is written. Times are UTC.

    \b
        $ gpu-vitals cases --bootstrap kafka-1:9092
        $ gpu-vitals cases --data-dir /var/lib/gpu-vitals --json
    """
    if context.args:
        gpu = context.args[0]
        raise UsageProblem(f"{gpu}: cases are listed of all GPUs", f"gpu-vitals explain {gpu} tells of one")
    from pipeline.operators import cases
    from pipeline.operators.saying import history

    found = cases.read(history(fleet))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found))
    else:
        for line in cases.table(found):
            click.echo(line)
