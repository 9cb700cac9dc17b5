"""A report as one HTML file: styles and plots are in it, nothing is loaded, no script runs."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.counts import counted
from sinks.report import svg, words
from sinks.report.markup import Markup, empty, join, raw, tag
from sinks.report.model import Report
from sinks.report.style import COLOURS, CSS, OTHER
from sinks.report.words import Row, moment, number, percent

ALERTS_SHOWN = 1000
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(report: Report) -> str:
    title = words.title(report)
    head = tag(
        "head",
        empty("meta", charset="utf-8"),
        empty("meta", http_equiv="Content-Security-Policy", content=POLICY),
        empty("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title}, {moment(report.start)} to {moment(report.end)} UTC"),
        tag("style", raw(CSS)),
    )
    sections = (_figures, _scores, _modes, _alerts, _capacity, _faults, _incidents, _held, _notes)
    body = tag(
        "body",
        tag("header", tag("h1", title), tag("p", words.window(report))),
        tag("main", *(section(report) for section in sections)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _figures(report: Report) -> Markup:
    """What to see at a glance."""
    sound = report.bands[0]
    load = number(report.alerts.per_day) if report.alerts.per_day is not None else "-"
    unusual = sum(mode.verdict == "more than usual" for mode in report.modes)
    figures = (
        (f"{report.fleet.gpus:,}", "GPUs judged"),
        (percent(sound.share), f"of GPU time {sound.condition} (typical: {percent(sound.typical or 0.0)})"),
        (load, f"alerts a day per 1,000 GPUs (budget: {number(report.alerts.budget)})"),
        (percent(report.capacity.lost_share), "of capacity lost"),
        (str(unusual), "failure modes more than usual"),
    )
    return tag("dl", *(tag("div", tag("dt", text), tag("dd", value)) for value, text in figures), class_="figures")


def _scores(report: Report) -> Markup:
    series = [svg.Series(b.condition, COLOURS.get(b.condition, OTHER), b.over_time) for b in report.bands]
    text = "; ".join(f"{band.condition} {percent(band.share)} of GPU time" for band in report.bands)
    plot = svg.stacked("Conditions over time", text, series, moment(report.start), moment(report.end))
    rows: list[Sequence[str]] = [
        (
            join(_swatch(COLOURS.get(band.condition, OTHER)), band.condition),
            band.band,
            number(band.hours),
            percent(band.share),
            percent(band.typical) if band.typical is not None else "",
            svg.share(band.share, band.typical, COLOURS.get(band.condition, OTHER)),
            f"{band.now:,}",
        )
        for band in report.bands
    ]
    head = ("condition", "band", "GPU-hours", "share", "typical week", "", "GPUs now")
    return _section("Scores", plot, _table("GPU time in each band of the score", head, rows))


def _modes(report: Report) -> Markup:
    rows: list[Sequence[str]] = []
    for each in report.modes:
        plot = svg.ranged(each.count, each.low, each.high) if each.low is not None and each.high is not None else ""
        rows.append((each.mode, each.frequency, *words.mode(each)[:3], plot, each.verdict))
    head = ("failure mode", "specified", "count", "expected", "usual (95 %)", "", "")
    text = (
        "Expected: the specified frequency for 1,000 GPUs in a year, scaled to the GPU-hours of this window. Usual: "
        "the central 95 % interval of a Poisson distribution around it, which holds if failures do not depend on one "
        "another."
    )
    return _section("Failure modes", _table("Failure modes, counted", head, rows), tag("p", text))


def _alerts(report: Report) -> Markup:
    alerts = report.alerts
    said = [tag("p", words.verdict(report))]
    if len(alerts.by_day) > 1:
        limit = alerts.budget * report.fleet.gpus / 1000.0
        labels, values = zip(*alerts.by_day, strict=True)
        total = f"{counted(alerts.count, 'alert')} on {len(labels)} days"
        text = f"{total}; the budget allows {number(limit)} a day for this fleet"
        said.append(svg.bars("Actionable alerts by day (UTC)", text, labels, values, limit, "budget"))
    rows = [
        (moment(each.ts), each.node, each.gpu, str(each.gpus), each.kind, each.action, words.cause(each), each.incident)
        for each in alerts.listed[:ALERTS_SHOWN]
    ]
    head = ("opened (UTC)", "node", "GPU", "GPUs", "kind", "action", "cause", "incident")
    said.append(_table("Alerts, each with its cause", head, rows))
    more = len(alerts.listed) - len(rows) + alerts.more
    if more:
        said.append(tag("p", f"and {more:,} more"))
    if alerts.automatic:
        told = ", ".join(f"{count} x {fault}" for fault, count in alerts.automatic.items())
        said.append(tag("p", f"Cases that need nobody: {told}."))
    return _section("Actionable alerts", *said)


def _capacity(report: Report) -> Markup:
    capacity = report.capacity
    text = (
        f"{number(capacity.lost_hours)} of {number(capacity.gpu_hours)} GPU-hours were lost "
        f"({percent(capacity.lost_share)}), {number(capacity.out_hours)} of them at weight 0."
    )
    gpus = [(each.name, each.node, *words.worst(each, capacity.lost_hours)) for each in report.worst_gpus]
    nodes = [(each.name, *words.worst(each, capacity.lost_hours)) for each in report.worst_nodes]
    columns = ("GPU-hours lost", "of all lost", "cases", "last cause")
    return _section(
        "Capacity",
        tag("p", text),
        _table("GPUs that lost most", ("GPU", "node", *columns), gpus),
        _table("Nodes that lost most", ("node", *columns), nodes),
    )


def _faults(report: Report) -> Markup:
    rows = [(each.name, f"{each.events:,}", f"{each.lines:,}", f"{each.gpus:,}", each.meaning) for each in report.xids]
    text = "Events: identical ones of a GPU within the coalescing time count once. Lines: as many as were printed."
    head = ("fault", "events", "lines", "GPUs", "meaning")
    return _section("Kernel faults", _table("The most frequent ones", head, rows), tag("p", text))


def _incidents(report: Report) -> Markup:
    if not report.incidents_known:
        return raw("")
    rows = [
        (each.family, *map(number, (each.opened, each.open, each.resolved)), words.resolved(each.hours_to_resolve))
        for each in report.incidents
    ]
    head = ("family", "opened", "open at the end", "resolved", "mean hours to resolve")
    return _section("Incidents", _table("By family", head, rows))


def _held(report: Report) -> Markup:
    if not report.held:
        return raw("")
    rows = [words.held(each) for each in report.held]
    more = [tag("p", f"and {report.held_more:,} more")] if report.held_more else []
    head = ("since (UTC)", "until (UTC)", "GPU", "node", "by", "cause")
    return _section("Held back", _table("Removals that something held back", head, rows), *more)


def _notes(report: Report) -> Markup:
    if not report.notes:
        return raw("")
    return _section("Notes", tag("ul", *(tag("li", note) for note in report.notes)))


def _section(title: str, *children: Markup) -> Markup:
    return tag("section", tag("h2", title), *children)


def _table(caption: str, head: Row, rows: Sequence[Sequence[str]]) -> Markup:
    if not rows:
        return tag("p", f"{caption}: none.")
    columns = tag("tr", *(tag("th", cell, scope="col") if cell else tag("td") for cell in head))
    body = (tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows)
    table = tag("table", tag("caption", caption), tag("thead", columns), tag("tbody", *body))
    return tag("div", table, class_="wide", tabindex="0", role="region", aria_label=caption)


def _swatch(colour: str) -> Markup:
    return tag("span", class_="swatch", style=f"background:{colour}", aria_hidden="true")
