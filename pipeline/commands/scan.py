"""`gpu-vitals scan`: judge once, from kernel logs and exporter pages."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.scan import Report


@click.command(name="scan")
@click.option("--kernel-log", "kernel_logs", multiple=True, metavar="FILE", help="A kernel or Fabric Manager log.")
@click.option("--exporter", "exporters", multiple=True, metavar="FILE|URL", help="A dcgm-exporter, or a page of one.")
@click.option("--policy", default="default", metavar="NAME|FILE", help="Judge by this policy.")
@click.option("--node", metavar="NAME", help="The node, where the input names none.")
@click.option("--assume-timezone", metavar="NAME", help="Of log times without one (default: the machine's).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for programs.")
def command(
    kernel_logs: tuple[str, ...],
    exporters: tuple[str, ...],
    policy: str,
    node: str | None,
    assume_timezone: str | None,
    as_json: bool,
) -> int:
    """Look once at the given inputs and judge every GPU they speak of.

    \b
    Exit status: 0 all healthy; 1 something is not; 2 usage, or an input that cannot be read.
    """
    from pipeline import policy_errors
    from pipeline.scan import scan
    from pipeline.timezones import named_timezone

    specs = [*(f"kernel-log:{path}" for path in kernel_logs), *(f"exporter:{page}" for page in exporters)]
    if not specs:
        raise UsageProblem("nothing to scan", "name an input: --kernel-log FILE or --exporter FILE|URL")
    timezone = named_timezone(assume_timezone) if assume_timezone else None
    report = scan(specs, policy_errors.load(policy), node=node, timezone=timezone)
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


def as_object(report: Report) -> bytes:
    import msgspec

    return msgspec.json.encode({"healthy": report.healthy, **msgspec.to_builtins(report)}) + b"\n"


def show(report: Report) -> None:
    """The report for people: what is wrong first, then the rest in numbers."""
    for gpu in report.gpus:
        if gpu.condition != "healthy" or gpu.xids:
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
    counts = Counter(gpu.condition for gpu in report.gpus)
    told = ", ".join(f"{count} {condition}" for condition, count in sorted(counts.items())) or "none named"
    click.echo(f"{len(report.gpus)} GPUs: {told}; {len(report.events)} kernel faults; policy {report.policy}")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
