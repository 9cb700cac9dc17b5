"""When disruptive steps are allowed: ranges of weekdays and times, UTC, as "mon-fri 22:00-04:00"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTE_MS, DAY_MINUTES = 60_000, 1440
EPOCH_DAY = DAYS.index("thu")  # 1970-01-01
FORM = re.compile(r"(?:(?P<days>[a-z,-]+) ?)?(?:(?P<from>\d\d:\d\d)-(?P<to>\d\d:\d\d))?")


class Window(NamedTuple):
    """days: numbers of weekdays, Monday = 0. start, end: minutes of the day; an end that is not later is on the next
    day.
    """

    days: frozenset[int]
    start: int
    end: int


def is_open(windows: Sequence[str], now_ms: int) -> bool:
    """Whether `now_ms` is in one of them, its start included; no windows: always."""
    if not windows:
        return True
    minutes = now_ms // MINUTE_MS
    day, minute = (minutes // DAY_MINUTES + EPOCH_DAY) % 7, minutes % DAY_MINUTES
    return any(_holds(parse(window), day, minute) for window in windows)


@lru_cache(maxsize=256)
def parse(text: str) -> Window:
    """Days, times, or both: "sat,sun", "02:00-05:00", "mon-fri 22:00-04:00". Raises ValueError."""
    found = FORM.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"no window: {text!r}; write it as 'mon-fri 22:00-04:00', 'sat,sun' or '02:00-05:00' (UTC)")
    start, end = (_minutes(found[name], text) if found[name] else 0 for name in ("from", "to"))
    return Window(_days(found["days"], text), start, end)


def _holds(window: Window, day: int, minute: int) -> bool:
    if window.start < window.end:
        return day in window.days and window.start <= minute < window.end
    return (day in window.days and minute >= window.start) or ((day - 1) % 7 in window.days and minute < window.end)


def _days(text: str | None, window: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(",") if text else ["mon-sun"]:
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"no weekday: {part!r} in {window!r}; the days are {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last or first)
        days.update((start + more) % 7 for more in range((end - start) % 7 + 1))
    return frozenset(days)


def _minutes(text: str, window: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes > 59 or 60 * hours + minutes > DAY_MINUTES:
        raise ValueError(f"no time of the day: {text!r} in {window!r}")
    return (60 * hours + minutes) % DAY_MINUTES
