"""How long to wait before trying again, and how fast to catch up: what keeps thousands of agents from stampeding."""

from __future__ import annotations

from random import Random

FIRST_S, CAP_S = 1.0, 40.0  # well below the minute of silence after which a node is taken for dead
START_S = 10.0
CATCH_UP_BYTES_S = 16 << 10
TIMES_OWN = 4.0
OVER_S = 10.0


class Pauses:
    """Pauses between tries: each anything from nothing to a limit that doubles, up to `CAP_S` ("full jitter").

    With a fixed schedule, agents that lost their broker at one moment come back at one moment, too.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0

    def start_s(self) -> float:
        """Before the first try of an agent that finds a backlog: it may be one of many that were started at once."""
        return self._random.uniform(0.0, START_S)

    def next_s(self) -> float:
        limit = min(FIRST_S * 2.0 ** min(self._failures, 16), CAP_S)
        self._failures += 1
        return self._random.uniform(0.0, limit)

    def over(self) -> None:
        """It works."""
        self._failures = 0


class CatchUp:
    """The pace of a backlog: `CATCH_UP_BYTES_S`, or `TIMES_OWN` as fast as it grows, where that is more."""

    def __init__(self, now: float) -> None:
        self._own_bytes_s = 0.0
        self._seen = 0
        self._at = now

    def grown(self, appended_bytes: int, now: float) -> None:
        """`appended_bytes` in all have been appended up to `now`."""
        passed = now - self._at
        if passed < 1.0:
            return
        share = min(passed / OVER_S, 1.0)
        self._own_bytes_s += share * ((appended_bytes - self._seen) / passed - self._own_bytes_s)
        self._seen, self._at = appended_bytes, now

    def pause_s(self, sent_bytes: int) -> float:
        """Before the next of the backlog, after `sent_bytes` of it."""
        return sent_bytes / max(CATCH_UP_BYTES_S, TIMES_OWN * self._own_bytes_s)
