"""`gpu-vitals report`: how a fleet did over a window of time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.log_options import log_options
from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from pipeline.history import History
    from sinks.report.model import Report

FORMATS = ("table", "json", "html")


@click.command(name="report")
@click.argument("files", nargs=-1, metavar="[RECORDING...]", type=click.Path(path_type=Path))
@click.option("--from", "since", metavar="TIME", help="As 2026-01-01T00:10:00Z, or 24h before the log's end.")
@click.option("--to", "until", metavar="TIME", help="Up to, and without, this time.  [default: the log's end]")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: by FILE's name, else table]")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write it there.")
@log_options
def command(
    open_history: Callable[[tuple[Path, ...]], History],
    files: tuple[Path, ...],
    since: str | None,
    until: str | None,
    form: str | None,
    output: Path | None,
) -> int:
    """Report on a fleet: scores, failure modes, alerts, lost capacity, faults, incidents, beside what is typical.

    Of a log the last seven days, of recordings all there is, which is judged first. HTML is one file, to be mailed
    or printed. Times are UTC.

    \b
        $ gpu-vitals report week.jsonl.zst
        $ gpu-vitals report --data-dir /var/lib/gpu-vitals --from 30d -o report.html
        $ gpu-vitals report --bootstrap kafka-1:9092 --from 24h --format json
    """
    from pipeline.moments import parse_moment
    from pipeline.report import report

    started = time.monotonic()
    history = open_history(files)
    result = report(
        history,
        (lambda now: parse_moment("--from", since, now)) if since else None,
        (lambda now: parse_moment("--to", until, now)) if until else None,
    )
    _write(_rendered(result, form or _by_name(output)), output)
    if output:
        seconds = time.monotonic() - started
        noun = "record" if result.records == 1 else "records"
        click.echo(f"{output}: {result.records:,} {noun} in {seconds:.1f} s", err=True)
    return 0


def _by_name(output: Path | None) -> str:
    suffix = output.suffix.removeprefix(".") if output else ""
    return {"htm": "html"}.get(suffix, suffix) if suffix in (*FORMATS, "htm") else FORMATS[0]


def _rendered(report: Report, form: str) -> bytes:
    if form == "json":
        import msgspec

        return msgspec.json.encode(report) + b"\n"
    if form == "html":
        from sinks.report import html

        return html.render(report).encode()
    from sinks.report import text

    return text.render(report).encode()


def _write(rendered: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(rendered)
        return
    try:
        output.write_bytes(rendered)
    except OSError as error:
        raise UsageProblem(f"{output}: cannot write: {(error.strerror or str(error)).lower()}") from None
