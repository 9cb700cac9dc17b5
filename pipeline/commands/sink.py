"""`gpu-vitals sink`: one reader of the pipeline's topics as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.kafka_options import kafka_options
from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.settings import Settings

NAMES = ("metrics", "decisions", "console", "webhook", "stream", "tickets", "commander", "scheduler")
LISTENS = {"metrics": "9108", "decisions": "9109"}  # by itself; the others only where they are told to
OF_WEBHOOK = "only `gpu-vitals sink webhook` takes it"


@click.command(name="sink")
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    help="Serve HTTP; loopback if no host.  [default: metrics 9108, decisions 9109, others not]",
)
@click.option("--url", metavar="URL", help="Of a webhook: where to POST each decision.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Of a webhook: holds the bearer token; may be replaced at any time.",
)
@click.option("--changes-only", is_flag=True, help="Of a webhook: only what alters the weight or state of a GPU.")
@click.option(
    "--group",
    metavar="TEXT",
    help="Sinks of one group share the work: give each webhook URL, each stream its own.  [default: NAME]",
)
@kafka_options
def command(
    settings: Settings,
    name: str,
    listen: str | None,
    url: str | None,
    token_file: Path | None,
    changes_only: bool,
    group: str | None,
) -> None:
    """Show the world what the pipeline says, from Kafka, until a signal.

    \b
        metrics    for Prometheus: /metrics
        decisions  for schedulers: /v1/gpus, /v1/gpus/KEY, /v1/decisions/stream
        console    for people: a live view on a terminal, else JSON lines; the newest of each GPU first
        webhook    POSTs each decision to --url, in order, until it is taken
        stream     JSON lines of decisions; goes on behind what it has written
        tickets    one for each incident that needs a person, where the table [tickets] of the settings says
        commander  tells nodes to reset and diagnose what is out of service, with the key of the table [commander]
        scheduler  asks the scheduler that the table [scheduler] names to take GPUs out, and to put them back

    Those that listen also serve /healthz, /readyz, and in /metrics how far they are. Nothing can be changed over
    HTTP. Outages of Kafka or of a receiver are waited for; nothing is lost.
    """
    from pipeline.kafka.sink_process import Options, run

    if name == "webhook":
        _check_webhook(url, token_file)
    else:
        for option, value in (("--url", url), ("--token-file", token_file), ("--changes-only", changes_only)):
            if value:
                raise UsageProblem(f"{option} does not go with {name}", OF_WEBHOOK)
    options = Options(
        listen=listen or settings.listen or LISTENS.get(name),
        group=group,
        url=url or "",
        token_file=token_file,
        changes_only=changes_only,
        live_view=name == "console" and sys.stdout.isatty() and not settings.json,
        tickets=settings.tickets,
        settings=settings,
    )
    run(name, settings.kafka, options)


def _check_webhook(url: str | None, token_file: Path | None) -> None:
    from urllib.parse import urlsplit

    if not url:
        raise UsageProblem("webhook needs --url", "--url https://HOST/PATH")
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UsageProblem(f"--url: not a URL to POST to: {url}", "http://HOST/PATH or https://HOST/PATH")
    if token_file:
        try:
            token_file.read_text("ascii")
        except UnicodeDecodeError:
            raise UsageProblem(f"--token-file: {token_file}: not a token in ASCII") from None
        except OSError as error:
            raise UsageProblem(f"--token-file: {token_file}: {error.strerror}") from None
