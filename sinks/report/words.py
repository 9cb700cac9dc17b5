"""Numbers and times of a report as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from sinks.report.model import Alert, Held, ModeCount, Report, Worst
from sinks.report.window import HOUR_MS

Row = tuple[str, ...]


def moment(ms: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def number(value: float) -> str:
    """Three digits that count, thousands apart: 0.0012, 0.5, 12.3, 1,234."""
    if value == 0.0 or abs(value) >= 100.0:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def count(value: int, what: str) -> str:
    return f"{value:,} {what}{'' if value == 1 else 's'}"


def duration(ms: float) -> str:
    hours = ms / HOUR_MS
    if hours >= 48:
        return f"{hours / 24:.3g} days"
    return f"{hours:.3g} h" if hours >= 1 else f"{60 * hours:.3g} min"


def title(report: Report) -> str:
    fleet = report.fleet
    return f"Fleet report: {count(fleet.gpus, 'GPU')} on {count(fleet.nodes, 'node')}"


def window(report: Report) -> str:
    length = duration(report.end - report.start)
    return f"{moment(report.start)} to {moment(report.end)} UTC, {length}, from {report.source}"


def cause(alert: Alert) -> str:
    """What happened, and where that stands where a workflow deals with it."""
    waits = f", waits: {alert.waits}" if alert.waits else ""
    return f"{alert.cause} [{alert.step}{waits}]" if alert.step else alert.cause


def verdict(report: Report) -> str:
    """The alert load in a sentence."""
    alerts, days = report.alerts, report.fleet.gpu_days
    if alerts.per_day is None:
        return "no GPU was seen: there is no alert load"
    budget = number(alerts.budget)
    load = f"{count(alerts.count, 'alert')} in {number(days)} GPU-days, {number(alerts.per_day)} a day per 1,000 GPUs"
    if days / 1000.0 * alerts.budget < 1.0:
        return f"{load}; the window is too short to hold that against the budget of {budget}"
    return f"{load}: {'within' if alerts.per_day <= alerts.budget else 'over'} the budget of {budget}"


def gpus(alert: Alert) -> str:
    """The alert's first GPU, and how many more."""
    return alert.gpu if alert.gpus == 1 else f"{alert.gpu} +{alert.gpus - 1}"


def resolved(hours: float | None) -> str:
    return "-" if hours is None else number(hours)


def mode(counted: ModeCount) -> Row:
    """count, expected, usual, verdict."""
    if counted.expected is None:
        return f"{counted.count:,}", "-", "-", counted.verdict
    usual = f"{counted.low} to {counted.high}"
    return f"{counted.count:,}", number(counted.expected), usual, counted.verdict


def worst(one: Worst, hours: float) -> Row:
    """lost GPU-hours, share of all that was lost, cases, cause."""
    return number(one.lost_hours), percent(one.lost_hours / hours) if hours else "-", str(one.cases), one.cause


def held(one: Held) -> Row:
    """since, until, GPU, node, by, cause."""
    until = moment(one.until) if one.until else "still held"
    return moment(one.ts), until, one.gpu, one.node, one.held_by, one.cause
