"""`gpu-vitals worker`: a share of the stages' partitions, on Kafka."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from pipeline.commands.kafka_options import kafka_options
from pipeline.errors import UsageProblem
from pipeline.logs import FORMATS, for_service

if TYPE_CHECKING:
    from pipeline.settings import Settings


@click.command(name="worker")
@click.option("--stage", type=click.Choice(["all", "node", "cluster"]), default="all", help="Which stages it takes.")
@click.option("--instance", metavar="NAME", help="A lasting name, unique among the workers that run.")
@click.option("--listen", metavar="[HOST:]PORT", help="Serve /metrics, /healthz, /readyz; loopback if no host.")
@click.option("--agents", metavar="MODULE", help="Faust agents of yours, to run beside the stages.")
@click.option("--log-format", type=click.Choice(FORMATS), default="text", help="Of standard error.")
@kafka_options
def command(
    settings: Settings, stage: str, instance: str | None, listen: str | None, agents: str | None, log_format: str
) -> None:
    """Take a share of the stages' partitions from Kafka; start as many workers as the fleet needs.

    Partitions move by themselves when workers come and go. A worker with --instance that is back within the
    session timeout gets its own again, without a rebalance. SIGTERM: it commits, saves its state, and hands over.

    \b
        $ gpu-vitals worker --bootstrap kafka-1:9092 --stage node --instance node-worker-0 --listen 9109
    """
    for_service(log_format)
    os.environ |= _environment(settings, STAGE=stage, INSTANCE=instance, LISTEN=listen)
    sys.path.insert(0, os.getcwd())  # where a user's agents are
    from faust import Worker

    from pipeline.faust_app import app

    if agents:
        try:
            importlib.import_module(agents)
        except ModuleNotFoundError as error:
            raise UsageProblem(
                f"--agents {agents}: {error}", "a module in this directory, or an installed one"
            ) from None
    app.finalize()
    worker = Worker(app, quiet=True, redirect_stdouts=False, override_logging=False)
    worker.spinner = None  # standard output belongs to the agents
    try:
        worker.execute_from_commandline()
    except SystemExit:
        if isinstance(worker.crash_reason, UsageProblem):  # last of all, in one line, below what Faust says of it
            raise worker.crash_reason from None
        raise


def _environment(settings: Settings, **worker: str | None) -> dict[str, str]:
    """The settings in force as variables: the application reads these, whoever starts it."""
    from pipeline.settings import PREFIX

    kafka = {name: getattr(settings.kafka, name) for name in settings.kafka.__struct_fields__}
    said = {f"{PREFIX}KAFKA_{name.upper()}": str(value) for name, value in kafka.items() if value is not None}
    return said | {f"{PREFIX}WORKER_{name}": value for name, value in worker.items() if value}
