"""`gpu-vitals xid`: find the Xids in a kernel log, and say what an Xid means and what we do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import IO, TYPE_CHECKING, Any

import click

from pipeline.errors import UsageProblem

if TYPE_CHECKING:
    from schemas.fault_terms import NvidiaAction
    from schemas.kernel_message import KernelEvent
    from schemas.sxid import SxidInfo
    from schemas.xid import Source, XidInfo

LINE_BYTES_MAX = 1 << 20  # a longer line is read in parts, so that no file can fill the memory
UUIDS_MAX = 65_536  # of GPUs that identity lines have named: more than any one log tells of
GZIP_MAGIC = b"\x1f\x8b"
SECONDS_DIGITS_MAX = 12
SXID_MIN = 10_000  # NVSwitch faults are numbered from here on

RESPONSES = {
    "monitor": "counted and shown, nothing else",
    "lower_score": "the score is capped at 0.7 for a time",
    "degrade": "the GPU is marked degraded and its score capped at 0.7 for a time",
    "evict": "the GPU gets no more work, is drained and repaired",
    "evict_permanently": "the GPU gets no more work, is drained and replaced",
    "remove_node": "the node leaves the pool",
    "follow_message": "the action that the message names",
}


class _Xids(click.Group):
    """Whoever types a code means its explanation."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0].isdigit():
            raise UsageProblem(f"no such command: {args[0]}", f"gpu-vitals xid explain {args[0]}")
        return super().resolve_command(ctx, args)


@click.group(name="xid", cls=_Xids)
def command() -> None:
    """Find Xids in kernel logs; explain Xid codes."""


@command.command(short_help="Print the Xids, SXids and lost GPUs of a kernel log.")
@click.argument("file")
@click.option(
    "--assume-timezone",
    metavar="NAME",
    help="Zone of times that name none, as Europe/Berlin or UTC.  [default: this machine's]",
)
@click.option(
    "--boot-time",
    metavar="TIME",
    help="When the machine of the log started (ISO 8601, or seconds since 1970), for times since boot.",
)
def parse(file: str, assume_timezone: str | None, boot_time: str | None) -> None:
    """Print each Xid, SXid and lost GPU of a kernel or Fabric Manager log as a line of JSON.

    FILE is a file or - for standard input. `ts` is in milliseconds since 1970, null where the log does not
    say. A line that looks like a fault and cannot be read is printed with kind "unparsed".
    """
    import msgspec

    from pipeline.timezones import named_timezone
    from producers.host import MachineTimezone
    from schemas.kernel_lines import LineReader, decode

    timezone = MachineTimezone() if assume_timezone is None else named_timezone(assume_timezone)
    boot_ms = None if boot_time is None else parse_boot_time(boot_time, timezone)
    reader = LineReader(boot_ms=boot_ms, timezone=timezone)
    uuids: dict[tuple[str | None, str | None], str] = {}

    def show(events: list[KernelEvent]) -> None:
        for event in events:
            place = (event.node, event.bdf)
            if event.uuid is None:
                click.echo(msgspec.json.encode(as_json(event, uuids.get(place))))
            elif place in uuids or len(uuids) < UUIDS_MAX:
                uuids[place] = event.uuid

    for line in read_lines(file):
        reader.now_ms = time.time_ns() // 1_000_000
        show(reader.feed(decode(line)))
    show(reader.flush())
    if reader.assumed_timezone:
        zone = "this machine's time zone" if assume_timezone is None else assume_timezone
        year = ", those without a year as the newest that are not in the future" if reader.assumed_year else ""
        click.echo(f"note: times without a zone were read in {zone}{year}", err=True)


@command.command(short_help="Say what an Xid or SXid means, and what to do.")
@click.argument("code", type=click.IntRange(min=0, max=999_999))
@click.option("--message", metavar="TEXT", default="", help="What a line says behind the code: it is read, too.")
@click.option("--driver", metavar="VERSION", default="", help="Of the machine that printed it, as 575.57.08.")
@click.option("--json", "as_data", is_flag=True, help="Print one JSON object instead of text.")
def explain(code: int, message: str, driver: str, as_data: bool) -> None:
    """Say what an Xid or SXid means, what NVIDIA advises, and what we do about it and why.

    CODE is the number in the line. SXids, the faults of NVSwitches, have numbers from 10000 on.
    """
    import msgspec

    from schemas import sxid, xid
    from schemas.xid_message import read

    if code >= SXID_MIN:
        switch = sxid.lookup(code, message.partition(",")[0].strip().lower())
        data = {"known": code in sxid.CATALOG, **msgspec.structs.asdict(switch)}
        title, lines = f"SXid {code}: {switch.meaning}", switch_lines(switch)
    else:
        info = xid.lookup(code)
        data = {"known": code in xid.CATALOG, **msgspec.structs.asdict(info)}
        title, lines = f"Xid {code}: {info.meaning}", gpu_lines(info)
        if message:
            response = xid.respond(code, message, driver=driver)
            details = read(code, message, driver).details
            data |= {"message_response": response, "details": details}
            lines += [("this message", f"{response}: {RESPONSES[response]}")]
            lines += [("", f"{name.replace('_', ' ')}: {value}") for name, value in details.items()]
    if as_data:
        click.echo(msgspec.json.encode(data))
        return
    click.echo(title)
    for name, text in lines:
        click.echo(f"  {name:<14} {text}")


def gpu_lines(info: XidInfo) -> list[tuple[str, str]]:
    from schemas.xid import SOURCES

    products = "NVIDIA does not say" if info.products is None else ", ".join(info.products) or "none of today's"
    extras = [
        text
        for applies, text in (
            (info.application, "mostly the program's own fault: a policy may demote it"),
            (info.hard, "takes effect whatever budgets say"),
            (info.corruption, "outputs may be wrong: they are to be checked again"),
            (info.counts_as_warning, "more than 10 of these in 60 minutes evict the GPU"),
            (info.latches, "holds until a diagnostic has passed or an operator clears it"),
        )
        if applies
    ]
    return [
        ("name", info.mnemonic or "not published"),
        ("severity", f"{info.severity} ({info.category})"),
        ("products", products),
        ("NVIDIA, first", advice(info.immediate_action)),
        ("NVIDIA, then", advice(info.investigatory_action)),
        ("recovery", info.recovery),
        ("response", f"{info.response}: {RESPONSES[info.response]}"),
        ("why", info.why),
        *(("", extra) for extra in extras),
        ("specification", info.spec_response or "silent"),
        ("source", cited(SOURCES.get(info.source))),
    ]


def switch_lines(info: SxidInfo) -> list[tuple[str, str]]:
    from schemas.sxid import SOURCES

    return [
        ("name", info.name or "not published"),
        ("severity", f"{info.severity} ({info.fatality.replace('_', ' ')}, of the {info.scope})"),
        ("NVIDIA", advice(info.action)),
        ("response", f"{info.response}: {RESPONSES[info.response]}"),
        ("why", info.why),
        ("source", cited(SOURCES.get(info.source))),
    ]


def advice(action: NvidiaAction) -> str:
    return f"{action}: {action.meaning}" if action else action.meaning


def cited(source: Source | None) -> str:
    return "none" if source is None else f"{source.title}, {source.url}"


def as_json(event: KernelEvent, uuid: str | None) -> dict[str, Any]:
    """One line of `parse`. What belongs to some events only is left out of the others."""
    from schemas.xid_message import read

    line: dict[str, Any] = {"code": event.code, "kind": event.kind}
    if event.node is not None:
        line["node"] = event.node
    line["bdf"] = event.bdf
    if uuid is not None:
        line["uuid"] = uuid
    line |= {name: getattr(event, name) for name in ("gi", "ci", "pid", "process", "message", "previous", "ts", "raw")}
    for name in ("severity", "link", "switch", "recovery_action"):
        if (value := getattr(event, name)) is not None:
            line[name] = value
    if event.kind == "xid" and event.code is not None and (details := read(event.code, event.message).details):
        line["details"] = details
    return line


def read_lines(file: str) -> Iterator[bytes]:
    stream = open_log(file)
    with stream:
        line = read_line(stream, file)
        if line.startswith(GZIP_MAGIC):
            raise UsageProblem(f"{file}: compressed", "`zcat FILE | gpu-vitals xid parse -` reads it")
        while line:
            yield line
            line = read_line(stream, file)


def open_log(file: str) -> IO[bytes]:
    try:
        return click.open_file(file, "rb")
    except OSError as error:
        raise UsageProblem(f"{file}: {error.strerror}") from None


def read_line(stream: IO[bytes], file: str) -> bytes:
    try:
        return stream.readline(LINE_BYTES_MAX)
    except OSError as error:
        raise UsageProblem(f"{file}: {error.strerror}") from None


def parse_boot_time(text: str, timezone: tzinfo) -> int:
    """Milliseconds since 1970."""
    if text.isascii() and text.isdigit() and len(text) <= SECONDS_DIGITS_MAX:
        return int(text) * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageProblem(
            f"--boot-time: not a time: {text}", "it is as in 2026-01-02T03:04:05+00:00, or seconds since 1970"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone)
    return int(moment.timestamp()) * 1000
