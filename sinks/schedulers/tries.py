"""When what was asked of a unit may be asked again: not in a storm, and at once when something else is wanted."""

from __future__ import annotations

from typing import NamedTuple

from sinks.schedulers.plan import Call

BACKOFF_S = (0.5, 15.0)
REFUSED_S = 60.0  # somebody may have mended what it was refused for
FORCE_AGAIN_S = 10.0  # it takes what runs there a while to end
SHOWN_S = (2.0, 60.0)  # a scheduler that has taken a call may need time to show it; a node, until its last job ends


class _Try(NamedTuple):
    """wait_s: the pause behind it, growing; 0: none. words: why it came to nothing; empty: it was taken."""

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

    def done(self, unit: str, call: Call, now: float) -> bool:
        """Whether this is the first time in a row."""
        shortest_s, longest_s = SHOWN_S
        before_s = self._before_s(unit, call, taken=True)
        wait_s = min(2.0 * before_s, longest_s) or (FORCE_AGAIN_S if call is Call.FORCE else shortest_s)
        self._last[unit] = _Try(call, now + wait_s, wait_s, "")
        return not before_s

    def away(self, unit: str, call: Call, now: float, words: str) -> bool:
        """Whether this is the first time in a row."""
        shortest_s, longest_s = BACKOFF_S
        before_s = self._before_s(unit, call, taken=False)
        wait_s = min(2.0 * before_s, longest_s) or shortest_s
        self._last[unit] = _Try(call, now + wait_s, wait_s, words)
        return not before_s

    def _before_s(self, unit: str, call: Call, taken: bool) -> float:
        """The pause behind the last try, if that was the same and ended in the same way."""
        last = self._last.get(unit)
        return last.wait_s if last and last.call is call and taken is not bool(last.words) else 0.0

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
