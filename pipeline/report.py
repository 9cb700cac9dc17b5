"""The fleet report of a window: reads a history in one pass and hands back what it says."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.errors import UsageProblem
from pipeline.history import Asked, History
from schemas.topics import DAY_S, TOPICS
from sinks.report.collect import INCIDENTS, Collector
from sinks.report.collect import TOPICS as READ
from sinks.report.model import Report
from sinks.report.window import Window

WEEK_MS = 7 * DAY_S * 1000
COMPACTED = (
    "logs keep for certain the newest word about each GPU, and of those before it what has not been compacted yet: "
    "of a busy GPU, earlier changes and cases in the window may be missing"
)

Moment = Callable[[int], int]  # from the time that counts as now, ms


def report(history: History, start: Moment | None = None, end: Moment | None = None) -> Report:
    """start, end: of the window; without them the last seven days that a log knows of, all of a recording.

    Raises UsageProblem: nothing to report on, or a window that ends before it begins.
    """
    topics = [topic for topic in READ if topic in TOPICS]
    known = history.span(topics)
    if known is None:
        raise UsageProblem(f"{history.where}: nothing has been judged there yet", "let the pipeline run first")
    oldest, newest = known
    until = end(newest) if end else newest + 1
    since = start(newest) if start else max(oldest, until - WEEK_MS) if history.forgets else oldest
    if until <= since:
        raise UsageProblem("the window ends before it begins", "--from is earlier than --to, or than the log's end")
    collector = Collector(Window(since, until))
    asked = [Asked(topic, since if _only_recent(topic) else None) for topic in topics]
    history.read(asked, collector.take)
    notes = list(history.notes)
    if since < oldest:
        notes.append("the window begins before the oldest record that is kept")
    if history.forgets:
        notes.append(COMPACTED)
    return collector.report(history.where, incidents_known=INCIDENTS in TOPICS, notes=notes)


def _only_recent(topic: str) -> bool:
    """Of compacted topics what is older says how a GPU came into the window."""
    return not TOPICS[topic].compacted
