"""When what was asked of a unit may be asked again: not in a storm, and at once when something else is wanted."""

from __future__ import annotations

from typing import NamedTuple

from sinks.schedulers.plan import Call

BACKOFF_S = (0.5, 15.0)
REFUSED_S = 60.0  # somebody may have mended what it was refused for
AGAIN_S = {Call.FORCE: 10.0}  # it takes what runs there a while to end
SAME_S = 2.0  # a scheduler that has taken a call may need a moment to show it


class _Try(NamedTuple):
    """wait_s: the last pause of an outage; 0: there was none. words: why it came to nothing."""

    call: Call
    until: float
    wait_s: float
    words: str


class Tries:
    """The last call of each unit. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._last: dict[str, _Try] = {}

    def may(self, unit: str, call: Call, now: float) -> bool:
        last = self._last.get(unit)
        return last is None or last.call is not call or last.until <= now

    def done(self, unit: str, call: Call, now: float) -> None:
        self._last[unit] = _Try(call, now + AGAIN_S.get(call, SAME_S), 0.0, "")

    def away(self, unit: str, call: Call, now: float, words: str) -> bool:
        """Whether this is the first time in a row."""
        last, (shortest_s, longest_s) = self._last.get(unit), BACKOFF_S
        before_s = last.wait_s if last and last.call is call else 0.0
        wait_s = min(2.0 * before_s, longest_s) if before_s else shortest_s
        self._last[unit] = _Try(call, now + wait_s, wait_s, words)
        return not before_s

    def refused(self, unit: str, call: Call, now: float, words: str) -> bool:
        """Whether it is for the first time, or in other words."""
        last = self._last.get(unit)
        self._last[unit] = _Try(call, now + REFUSED_S, 0.0, words)
        return last is None or (last.call, last.words) != (call, words)

    def words(self, unit: str) -> str:
        """Why the last call came to nothing; empty: it did not."""
        last = self._last.get(unit)
        return f"{last.call}: {last.words}" if last and last.words else ""

    def forget(self, unit: str) -> None:
        """It is as it should be."""
        self._last.pop(unit, None)
