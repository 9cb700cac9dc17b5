"""A report as text for terminals and mail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sinks.report import words
from sinks.report.model import Report
from sinks.report.words import Row, moment, number, percent

ALERTS_SHOWN = 50
HELD_SHOWN = 20


def render(report: Report) -> str:
    """Lines, newline included."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield words.title(report)
    yield words.window(report)
    if not report.fleet.gpus:
        yield "no GPU was judged in this window"
    yield from _table("Scores", ("", "band", "GPU-hours", "share", "typical week", "GPUs now"), _bands(report), "ll")
    yield from _table(
        "Failure modes, beside what 1,000 GPUs show by the specification",
        ("mode", "specified", "count", "expected", "usual (95 %)", ""),
        [(each.mode, each.frequency, *words.mode(each)) for each in report.modes],
        "llrrrl",
    )
    yield from _alerts(report)
    yield from _capacity(report)
    yield from _table(
        "Most frequent kernel faults",
        ("fault", "events", "lines", "GPUs", "meaning"),
        [(each.name, f"{each.events:,}", f"{each.lines:,}", f"{each.gpus:,}", each.meaning) for each in report.xids],
        "lrrrl",
    )
    yield from _incidents(report)
    yield from _held(report)
    if report.notes:
        yield ""
        yield from (f"note: {note}" for note in report.notes)


def _bands(report: Report) -> list[Row]:
    return [
        (
            band.condition,
            band.band,
            number(band.hours),
            percent(band.share),
            percent(band.typical) if band.typical is not None else "",
            f"{band.now:,}",
        )
        for band in report.bands
    ]


def _alerts(report: Report) -> Iterator[str]:
    alerts = report.alerts
    yield ""
    yield f"Actionable alerts: {words.verdict(report)}"
    if alerts.automatic:
        told = ", ".join(f"{count} x {fault}" for fault, count in alerts.automatic.items())
        yield f"  cases that need nobody: {told}"
    rows = [
        (moment(alert.ts), alert.node, words.gpus(alert), alert.action, words.cause(alert))
        for alert in alerts.listed[:ALERTS_SHOWN]
    ]
    yield from _rows(("opened (UTC)", "node", "GPU", "action", "cause"), rows, "lllll")
    more = len(alerts.listed) - len(rows) + alerts.more
    if more:
        yield f"  and {more:,} more"


def _capacity(report: Report) -> Iterator[str]:
    capacity = report.capacity
    yield ""
    yield (
        f"Capacity: {number(capacity.lost_hours)} of {number(capacity.gpu_hours)} GPU-hours lost "
        f"({percent(capacity.lost_share)}), {number(capacity.out_hours)} of them at weight 0"
    )
    gpus = [(each.name, each.node, *words.worst(each, capacity.lost_hours)) for each in report.worst_gpus]
    yield from _rows(("GPU", "node", "lost h", "of all", "cases", "last cause"), gpus, "llrrrl")
    nodes = [(each.name, *words.worst(each, capacity.lost_hours)[:3]) for each in report.worst_nodes]
    yield from _rows(("node", "lost h", "of all", "cases"), nodes, "lrrr")


def _incidents(report: Report) -> Iterator[str]:
    if not report.incidents_known:
        return
    rows = [
        (each.family, *map(number, (each.opened, each.open, each.resolved)), words.resolved(each.hours_to_resolve))
        for each in report.incidents
    ]
    yield from _table("Incidents", ("family", "opened", "open", "resolved", "mean h to resolve"), rows, "lrrrr")


def _held(report: Report) -> Iterator[str]:
    if not report.held:
        return
    rows = [words.held(each) for each in report.held[:HELD_SHOWN]]
    yield from _table("Removals that were held back", ("since (UTC)", "until", "GPU", "node", "by", "cause"), rows, "l")
    more = len(report.held) - len(rows) + report.held_more
    if more:
        yield f"  and {more:,} more"


def _table(title: str, head: Row, rows: Sequence[Row], align: str) -> Iterator[str]:
    yield ""
    yield title
    if rows:
        yield from _rows(head, rows, align)
    else:
        yield "  none"


def _rows(head: Row, rows: Sequence[Row], align: str) -> Iterator[str]:
    """align: l or r for each column that it names, r for others; "l" alone is for all."""
    if not rows:
        return
    clean = [tuple(_plain(cell) for cell in row) for row in rows]
    widths = [max(len(row[at]) for row in (head, *clean)) for at in range(len(head))]
    ways = align.ljust(len(head), "l" if align == "l" else "r")
    for row in (head, *clean):
        cells: Iterable[str] = (
            cell.ljust(width) if way == "l" else cell.rjust(width)
            for cell, width, way in zip(row, widths, ways, strict=True)
        )
        yield f"  {'  '.join(cells)}".rstrip()


def _plain(cell: str) -> str:
    """What comes out of records may hold anything; a terminal is told none of it but text."""
    return "".join(letter if letter.isprintable() else "?" for letter in cell)
