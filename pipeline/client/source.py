"""Where a view of the decisions comes from."""

from __future__ import annotations

import logging
import random
from typing import Protocol

from pipeline.client.view import View

BACKOFF_S = (0.5, 15.0)

logger = logging.getLogger(__name__)


class Source(Protocol):
    """One follower of the decisions."""

    problem: str  # why nothing comes at the moment; empty: it does

    def run(self, view: View) -> None:
        """Feed the view, through all outages, until `stop`; called in a thread of its own."""

    def stop(self) -> None:
        """End `run` soon, also when it has not begun. From any thread; harmless twice."""


class Tries:
    """Waits between tries: twice as long each time, and never the same for all who lost one server at one moment."""

    def __init__(self, backoff_s: tuple[float, float] = BACKOFF_S) -> None:
        self._first_s, self._longest_s = backoff_s
        self._most_s = self._first_s

    def worked(self) -> None:
        self._most_s = self._first_s

    def next_s(self, at_least_s: float = 0.0) -> float:
        """at_least_s: what a server has asked for."""
        most_s, self._most_s = self._most_s, min(2 * self._most_s, self._longest_s)
        return max(random.uniform(most_s / 2, most_s), min(at_least_s, self._longest_s) * random.uniform(1.0, 1.5))


class Troubles:
    """One line of the log an outage, not one a try."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.problem = ""

    def fails(self, why: str) -> None:
        if not self.problem:
            logger.warning("health weights: %s: %s; trying again", self._what, why)
        self.problem = f"{self._what}: {why}"

    def works(self) -> None:
        if self.problem:
            logger.warning("health weights: %s: goes on", self._what)
        self.problem = ""
