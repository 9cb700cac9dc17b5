"""A window of time, and what each GPU was during it: how long in which state, overall and over time."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BUCKETS = 48  # of the plots over time


class Window(NamedTuple):
    """From `start` to below `end`, times of the log in ms."""

    start: int
    end: int

    @property
    def hours(self) -> float:
        return (self.end - self.start) / HOUR_MS

    @property
    def days(self) -> float:
        return (self.end - self.start) / DAY_MS

    def has(self, ms: int) -> bool:
        return self.start <= ms < self.end


class Buckets:
    """GPU time per equal part of a window, in constant memory and constant time for each interval."""

    def __init__(self, window: Window, count: int = BUCKETS) -> None:
        self._window = window
        self._width = max((window.end - window.start) / count, 1.0)
        self._partial = [0.0] * count
        self._whole = [0.0] * (count + 1)  # changes of how many intervals cover a part altogether

    def add(self, start: int, end: int) -> None:
        """An interval within the window."""
        first, last = self._at(start), self._at(end)
        if first == last:
            self._partial[first] += end - start
            return
        self._partial[first] += (first + 1) * self._width - (start - self._window.start)
        self._partial[last] += (end - self._window.start) - last * self._width
        self._whole[first + 1] += 1.0
        self._whole[last] -= 1.0

    def hours(self) -> list[float]:
        """GPU-hours of each part."""
        covered, found = 0.0, []
        for partial, change in zip(self._partial, self._whole, strict=False):
            covered += change
            found.append((partial + covered * self._width) / HOUR_MS)
        return found

    def _at(self, ms: int) -> int:
        return min(int((ms - self._window.start) / self._width), len(self._partial) - 1)


class Spans:
    """The time that each key spends in each of its states: told of changes in the order of the log, key by key.

    What was before the window only says in which state a key came into it.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._now: dict[str, tuple[str, int]] = {}  # key -> state, since
        self.hours: dict[str, float] = defaultdict(float)
        self.buckets: dict[str, Buckets] = {}

    def change(self, key: str, state: str | None, ms: int) -> None:
        """From `ms` on, `key` is in `state`; None: it is not there any more."""
        known = self._now.get(key)
        if known is not None:
            self._close(*known, ms)
        if state is None:
            self._now.pop(key, None)
        else:
            self._now[key] = state, max(ms, known[1]) if known else ms

    def finish(self) -> None:
        """The end of the window has come for all."""
        for state, since in self._now.values():
            self._close(state, since, self._window.end)

    def states(self) -> dict[str, int]:
        """How many keys are in each state at the end."""
        counts: dict[str, int] = defaultdict(int)
        for state, _ in self._now.values():
            counts[state] += 1
        return dict(counts)

    def _close(self, state: str, since: int, until: int) -> None:
        start, end = max(since, self._window.start), min(until, self._window.end)
        if end <= start:
            return
        self.hours[state] += (end - start) / HOUR_MS
        if state not in self.buckets:
            self.buckets[state] = Buckets(self._window)
        self.buckets[state].add(start, end)
