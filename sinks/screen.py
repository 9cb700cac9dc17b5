"""Draws the live view, for any size of terminal from 80 x 24 on: lines of text, cut to the width."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from schemas.counts import counted
from schemas.records import Decision, Reason, Xid, gpu_key
from schemas.states import CaseState, Condition
from sinks.view import Change, Facts, View

COLOURS = {
    Condition.HEALTHY: "green",
    Condition.WARNING: "yellow",
    Condition.DEGRADED: "dark_orange",
    Condition.FAILED: "red",
    Condition.UNKNOWN: "magenta",
}
BANDS = {  # condition: its band of the score, and its share in a typical week
    Condition.HEALTHY: ("0.9-1.0", "94.2 %"),
    Condition.WARNING: ("0.7-0.9", "3.8 %"),
    Condition.DEGRADED: ("0.3-0.7", "1.5 %"),
    Condition.FAILED: ("0.0-0.3", "0.5 %"),
    Condition.UNKNOWN: ("", ""),
}
WORST_FIRST = (Condition.FAILED, Condition.DEGRADED, Condition.UNKNOWN, Condition.WARNING)
RANK = {condition: rank for rank, condition in enumerate(WORST_FIRST)}
FIXED_LINES = 13  # header, distribution and headings
WIDE = 110  # from here on a GPU's PCI address fits in as well


def draw(view: View, facts: Facts, console: Console) -> Text:
    width, height = console.size
    bar = "█" if console.encoding.startswith("utf") else "#"
    room = max(height - FIXED_LINES - len(facts.notes), 6)
    events_room, changes_room = room // 4, room // 3
    lines = [
        *_header(view, facts, width),
        *_distribution(view, width, bar),
        *_worst(view, width, room - events_room - changes_room),
        *_events(list(view.events), width, events_room),
        *_changes(list(view.changes), width, changes_room),
    ]
    for line in lines:
        line.truncate(width, overflow="ellipsis", pad=False)
    return Text("\n").join(lines[:height])


def _header(view: View, facts: Facts, width: int) -> Iterator[Text]:
    right = f"observing only  {_span(facts.running_s)}"
    left = Text.assemble(("GPU Vitals", "bold"), f"  {facts.what}")
    left.truncate(width - len(right) - 2, overflow="ellipsis", pad=True)
    yield Text.assemble(left, "  ", (right, "cyan"))
    nodes = len({score.node for score in view.scores.values()})
    name, _, version = facts.policy.partition("@")
    seen = f"event time {_clock(facts.event_ms, '%Y-%m-%d %H:%M:%S')}" if facts.event_ms else ""
    yield Text.assemble(
        (f"{counted(len(view.scores), 'GPU')} on {counted(nodes, 'node')}", "bold"),
        f"  policy {name}@{version[:6]}  {seen}",
    )
    for note in facts.notes:
        yield Text(note, "bold yellow")


def _distribution(view: View, width: int, bar: str) -> Iterator[Text]:
    counts = Counter(score.condition for score in view.scores.values())
    total = counts.total()
    out = sum(decision.weight == 0.0 for decision in view.decisions.values())
    note = f"{out} of {total} GPUs without traffic" if out else ""
    yield _heading(f"Health{note:>40}" if note else "Health", "typical week", width)
    for condition, (band, typical) in BANDS.items():
        count = counts[condition]
        share = count / total if total else 0.0
        room = max(width - 48, 0)
        length = max(round(share * room), count > 0)
        yield Text.assemble(
            (f"  {condition.value:<9}", COLOURS[condition]),
            (f"{band:<9}", "dim"),
            f"{count:>6} {share:>7.1%} ".replace("%", " %"),
            (f"{bar * length:<{room}}", COLOURS[condition]),
            (f"{typical:>12}", "dim"),
        )


def _worst(view: View, width: int, room: int) -> Iterator[Text]:
    sick = [(key, score) for key, score in view.scores.items() if score.condition is not Condition.HEALTHY]
    place = 24 if width < WIDE else 37
    columns = f"{'Worst GPUs':<{place + 10}}weight state"
    yield _heading(columns, f"{len(sick)} not healthy" if sick else "", width)
    shown = heapq.nsmallest(room, sick, key=lambda entry: (RANK[entry[1].condition], entry[1].score, entry[0]))
    for key, score in shown:
        decision = view.decisions.get(key)
        weight = f"{decision.weight:.2f}" if decision else "-"
        case = view.cases.get(key)
        state = case.step if case and case.step else decision.state if decision else CaseState.IN_SERVICE
        waits = f" (waits: {case.waits})" if case and case.waits else ""
        held = f" (held: {decision.held_by})" if decision and decision.held_by else ""
        yield Text.assemble(
            (f"  {score.condition.value:<9}", COLOURS[score.condition]),
            f"{_gpu(score.node, score.uuid, score.bdf, width)} {weight:>6} {state:<12}",
            _why(score.reasons),
            (held or waits, "cyan"),
        )
    if not shown:
        yield Text("  none: every GPU is healthy" if view.scores else "  no GPU has been judged yet", "dim")
    yield from (Text() for _ in range(room - max(len(shown), 1)))


def _events(events: Sequence[Xid], width: int, room: int) -> Iterator[Text]:
    yield _heading("Latest events", "", width)
    shown = events[-room:][::-1]
    for event in shown:
        name = f"Xid {event.code}" if event.fault == "xid" else f"{event.fault} {event.code or ''}".strip()
        yield Text.assemble(
            (f"  {_clock(event.ts, '%H:%M:%S')} ", "dim"),
            f"{_gpu(event.node, event.uuid, event.bdf, width)} ",
            (name, "bold"),
            (f" {event.response.replace('_', ' ')} ", "cyan"),
            event.meaning,
        )
    yield from (Text() for _ in range(room - len(shown)))


def _changes(changes: Sequence[Change], width: int, room: int) -> Iterator[Text]:
    yield _heading("Latest decisions", "", width)
    for before, decision in changes[-room:][::-1]:
        yield Text.assemble(
            (f"  {_clock(decision.ts, '%H:%M:%S')} ", "dim"),
            f"{_gpu(decision.node, decision.uuid, decision.bdf, width)} ",
            f"{before:.2f}->" if before != decision.weight else " " * 6,
            (f"{decision.weight:.2f}", COLOURS[decision.condition]),
            f" {decision.state:<11}",
            _outcome(decision),
            (f" (held: {decision.held_by})" if decision.held_by else "", "cyan"),
        )


def _outcome(decision: Decision) -> Text:
    if decision.reasons:
        return _why(decision.reasons)
    if decision.state is CaseState.IN_SERVICE and decision.weight == 1.0:
        return Text("healthy again", "green")
    return Text(decision.cause or decision.action)  # a fault elsewhere takes it out, of its node for one


def _heading(left: str, right: str, width: int) -> Text:
    return Text(f"{left}{right:>{max(width - len(left), 0)}}", "bold underline")


def _gpu(node: str, uuid: str, bdf: str, width: int) -> str:
    """A GPU in 22 columns, in 35 on a wide screen: node, the UUID's first block, the PCI address."""
    short = uuid[:12] or gpu_key("", "", bdf).lstrip("/")
    place = f" {bdf:<12}" if width >= WIDE and uuid else " " * 13 if width >= WIDE else ""
    return f"{node[-9:]:<9} {short:<12}{place}"


def _why(reasons: Sequence[Reason]) -> Text:
    """The reasons, what lowers the score most first."""
    ordered = sorted(reasons, key=lambda reason: reason.cap)
    return Text("; ".join(reason.text or f"{reason.signal} {reason.level}" for reason in ordered))


def _clock(ms: int, form: str) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime(form)


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
