"""Plots as SVG: areas over time, bars, a value beside its usual range. Each has a title and a text in its place."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from typing import NamedTuple

from sinks.report.markup import Markup, join, tag

WIDTH, HEIGHT = 720, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
ROOM_X, ROOM_Y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
ROW_WIDTH, ROW_HEIGHT = 160, 14
INK, RANGE, BAR, OVER = "#1d2430", "#d8dde5", "#4a7fb5", "#b3263f"  # where no style sheet is heeded


class Series(NamedTuple):
    """values: one for each part of the time. colour: of CSS."""

    name: str
    colour: str
    values: Sequence[float]


def stacked(title: str, text: str, series: Sequence[Series], first: str, last: str) -> Markup:
    """Shares of a whole over time, one area on the other, from the first series at the bottom on.

    first, last: what stands under the ends of the time axis.
    """
    parts = max((len(each.values) for each in series), default=0)
    totals = [sum(each.values[at] for each in series if each.values) for at in range(parts)]
    below = [0.0] * parts
    areas = []
    for each in series:
        if not each.values:
            continue
        shares = [value / total if total else 0.0 for value, total in zip(each.values, totals, strict=True)]
        above = [low + share for low, share in zip(below, shares, strict=True)]
        areas.append(_area(each, below, above))
        below = above
    return _plot(title, text, *_grid(100.0, " %"), *areas, *_ends(first, last))


def bars(title: str, text: str, labels: Sequence[str], values: Sequence[float], limit: float, what: str) -> Markup:
    """A bar each; a line across at `limit`, named `what`."""
    top = _round_up(max([*values, limit, 1.0]))
    step = ROOM_X / max(len(values), 1)
    drawn = [
        tag(
            "rect",
            tag("title", f"{label}: {value:g}"),
            class_="over" if value > limit else "bar",
            fill=OVER if value > limit else BAR,
            x=LEFT + at * step + 0.1 * step,
            y=_y(value / top),
            width=0.8 * step,
            height=ROOM_Y * value / top,
        )
        for at, (label, value) in enumerate(zip(labels, values, strict=True))
    ]
    line = _limit(LEFT, WIDTH - RIGHT, _y(limit / top), _y(limit / top))
    name = tag("text", what, x=WIDTH - RIGHT, y=_y(limit / top) - 3, text_anchor="end")
    ends = _ends(labels[0], labels[-1] if len(labels) > 1 else "") if labels else []
    return _plot(title, text, *_grid(top, ""), *drawn, line, name, *ends)


def ranged(value: float, low: float, high: float) -> Markup:
    """A dot beside the range from `low` to `high`, on a scale of its own; told by the numbers that stand beside it."""
    top = max(value, high, 1.0) * 1.05
    at = 6 + (ROW_WIDTH - 12) * value / top
    start, end = (6 + (ROW_WIDTH - 12) * x / top for x in (low, high))
    middle, usual = ROW_HEIGHT / 2, low <= value <= high
    return tag(
        "svg",
        tag("rect", class_="range", fill=RANGE, x=start - 3, y=middle - 4, width=end - start + 6, height=8.0, rx=4.0),
        tag("circle", class_="dot" if usual else "dot over", fill=INK if usual else OVER, cx=at, cy=middle, r=3.5),
        class_="row",
        viewBox=f"0 0 {ROW_WIDTH} {ROW_HEIGHT}",
        aria_hidden="true",
    )


def share(value: float, typical: float | None, colour: str) -> Markup:
    """A bar of a share, and a mark where it typically ends; told by the numbers that stand beside it."""
    marks = [tag("rect", x=0.0, y=2.0, width=ROW_WIDTH * value, height=ROW_HEIGHT - 4.0, fill=colour)]
    if typical is not None:
        marks.append(_limit(ROW_WIDTH * typical, ROW_WIDTH * typical, 0.0, ROW_HEIGHT))
    return tag("svg", *marks, class_="row", viewBox=f"0 0 {ROW_WIDTH} {ROW_HEIGHT}", aria_hidden="true")


def _plot(title: str, text: str, *children: Markup) -> Markup:
    return tag(
        "svg",
        tag("title", title),
        tag("desc", text),
        *children,
        class_="plot",
        font_size=11.0,
        role="img",
        aria_label=f"{title}. {text}",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
    )


def _area(series: Series, below: Sequence[float], above: Sequence[float]) -> Markup:
    """Each value holds for its part of the time: steps, no slopes that nobody has measured."""
    step = ROOM_X / len(above)
    points = [(LEFT + (at + side) * step, _y(share)) for at, share in enumerate(above) for side in (0, 1)]
    points += [(LEFT + (at + side) * step, _y(share)) for at, share in reversed([*enumerate(below)]) for side in (1, 0)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return tag("polygon", tag("title", series.name), points=path, fill=series.colour)


def _grid(top: float, unit: str) -> list[Markup]:
    drawn = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share)
        line = tag("line", class_="grid", stroke=RANGE, x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y)
        drawn.append(join(line, tag("text", f"{top * share:.3g}{unit}", x=LEFT - 4, y=y + 4, text_anchor="end")))
    return drawn


def _limit(x1: float, x2: float, y1: float, y2: float) -> Markup:
    return tag("line", class_="limit", stroke=INK, x1=x1, x2=x2, y1=y1, y2=y2)


def _round_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= value)


def _ends(first: str, last: str) -> list[Markup]:
    y = HEIGHT - 6
    return [tag("text", first, x=LEFT, y=y), tag("text", last, x=WIDTH - RIGHT, y=y, text_anchor="end")]


def _y(share: float) -> float:
    return TOP + ROOM_Y * (1.0 - share)
