"""`gpu-vitals scan`: judge once, this machine or kernel logs and exporter pages."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from pipeline.errors import UsageProblem
from schemas.counts import counted

if TYPE_CHECKING:
    from pipeline.listening import Heard, Here
    from pipeline.scan import Report
    from processors.policy import Policy

HEAD_BYTES = 1 << 16
NAME_INPUT = "name an input: --kernel-log FILE or --exporter FILE|URL"
MEND = "`gpu-vitals agent --check` says how to mend what is missing"


@click.command(name="scan", context_settings={"allow_extra_args": True})
@click.option("--kernel-log", "kernel_logs", multiple=True, metavar="FILE", help="A kernel or Fabric Manager log.")
@click.option("--exporter", "exporters", multiple=True, metavar="FILE|URL", help="A dcgm-exporter, or a page of one.")
@click.option("--live", is_flag=True, help="Look at this machine beside the logs that are named.")
@click.option("--seconds", type=click.FloatRange(1, 3600), metavar="N", help="How long to look at it.  [default: 5]")
@click.option("--policy", default="default", metavar="NAME|FILE", help="Judge by this policy.")
@click.option("--node", metavar="NAME", help="The node, where the input names none.")
@click.option("--assume-timezone", metavar="NAME", help="Of log times without one (default: the machine's).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for programs.")
@click.pass_context
def command(
    context: click.Context,
    kernel_logs: tuple[str, ...],
    exporters: tuple[str, ...],
    live: bool,
    seconds: float | None,
    policy: str,
    node: str | None,
    assume_timezone: str | None,
    as_json: bool,
) -> int:
    """Look once, at this machine or at the given inputs, and judge every GPU.

    Without inputs it reads for some seconds what this machine has: DCGM's engine, else the driver's library (NVML), and
    what the kernel has said since the machine started. It changes nothing.

    \b
        $ gpu-vitals scan
        $ gpu-vitals scan --kernel-log /var/log/kern.log
        $ gpu-vitals scan --live --kernel-log /var/log/fabricmanager.log

    \b
    Exit status: 0 all healthy; 1 something is not; 2 usage, no GPU and no input, or one that cannot be read.
    """
    if context.args:
        raise unnamed(context.args[0])
    specs = [*(f"kernel-log:{path}" for path in kernel_logs), *(f"exporter:{page}" for page in exporters)]
    live = live or not specs
    if live and exporters:
        raise UsageProblem("--live and --exporter may tell the same of the same GPUs twice", "run them apart")
    if seconds and not live:
        raise UsageProblem("--seconds is for a look at this machine", "add --live, or leave it out")
    from pipeline.timezones import named_timezone

    timezone = named_timezone(assume_timezone) if assume_timezone else None
    if policy != "default":  # a typing error is told before the look; else numpy is not loaded before it
        load(policy)
    heard = look(seconds, node) if live else None
    if heard and not (heard.here.sources or specs):
        raise UsageProblem(f"nothing to scan: {heard.unread[0]}", f"{NAME_INPUT}; {MEND}")
    from pipeline.scan import scan

    of = node or (heard.here.node if heard else None)  # lines that name no host, beside a look at this machine
    report = scan(specs, load(policy), node=of, timezone=timezone, heard=heard)
    if report.unread and not report.gpus and not report.events:
        raise UsageProblem("; ".join(report.unread))
    if as_json:
        sys.stdout.buffer.write(as_object(report))
    else:
        show(report)
    for unread in report.unread:
        click.echo(f"error: {unread}", err=True)
    if report.unread:
        return 2
    return 0 if report.healthy else 1


def look(seconds: float | None, node: str | None) -> Heard:
    """What this machine says. Where there is nothing to ask it is `unread`, in words, and has no sources."""
    from producers import host, machine

    there = machine.look()
    from pipeline import listening

    seconds = seconds or listening.SECONDS
    if not there.sources:
        here = listening.Here(node=node or host.hostname(), sources=[], seconds=0.0)
        return listening.Heard(here, 0, [], [f"no GPU was found on this machine: {'; '.join(there.lacks)}"], [])
    if sys.stderr.isatty():
        click.echo(f"looking at this machine for {seconds:g} s: {', '.join(there.sources)} ...", err=True)
    return listening.listen(there, seconds, node=node)


def load(policy: str) -> Policy:
    from pipeline import policy_errors

    return policy_errors.load(policy)


def unnamed(argument: str) -> UsageProblem:
    """What to type instead of a bare FILE, by what the file holds."""
    from pathlib import Path

    if "://" in argument:
        return UsageProblem(f"{argument}: not said what it is", f"gpu-vitals scan --exporter {argument}")
    try:
        with Path(argument).open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return UsageProblem(f"{argument}: {why}", NAME_INPUT)
    if argument.endswith((".jsonl", ".zst")):
        return UsageProblem(f"{argument}: a recording is not scanned", f"gpu-vitals replay {argument}")
    option = "--exporter" if b"DCGM_FI_" in head else "--kernel-log"
    return UsageProblem(f"{argument}: not said what it is", f"it seems to be for gpu-vitals scan {option} {argument}")


def as_object(report: Report) -> bytes:
    import msgspec

    return msgspec.json.encode({"healthy": report.healthy, **msgspec.to_builtins(report)}) + b"\n"


def of_machine(here: Here) -> str:
    """What is in it, and how it was looked at."""
    models = [f"{count} x {model or 'a model that is not told'}" for model, count in here.models.items()]
    shown = ", ".join(models) or "no GPU is listed"
    driver = f"; driver {here.driver}" if here.driver else ""
    return f"{here.node}: {shown}{driver}; {', '.join(here.sources)} for {here.seconds:g} s"


def show(report: Report) -> None:
    """The report for people: what is wrong first, then the rest, in numbers unless it is of this machine."""
    if report.here and report.here.sources:
        click.echo(of_machine(report.here))
    for gpu in report.gpus:
        if gpu.condition != "healthy" or gpu.xids or report.here:
            colour = {"healthy": "green", "failed": "red", "unseen": None}.get(gpu.condition, "yellow")
            condition = click.style(f"{gpu.condition:9}", fg=colour, bold=True)
            click.echo(f"{condition} {gpu.score:4.2f}  {gpu.uuid or gpu.bdf}  {gpu.node}  {gpu.action}")
            for reason in gpu.reasons:
                click.echo(f"                {reason}")
            for code in dict.fromkeys(gpu.xids):
                click.echo(f"                {gpu.xids.count(code)} x Xid {code} in the log")
    for event in report.events:
        if event.fault == "sxid":
            click.echo(f"NVSwitch {event.bdf}: SXid {event.code} ({event.severity}): {event.message}")
    for text in report.not_understood:
        click.echo(f"not understood: {text}")
    faults = counted(len(report.events), "kernel fault")
    counts = Counter(gpu.condition for gpu in report.gpus)
    told = ", ".join(f"{count} {condition}" for condition, count in sorted(counts.items())) or "none named"
    click.echo(f"{counted(len(report.gpus), 'GPU')}: {told}; {faults}; policy {report.policy}")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
