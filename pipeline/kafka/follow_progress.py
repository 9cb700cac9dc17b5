"""How far a follower has come in its partitions, and how far that is from their ends."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aiokafka import TopicPartition


class Progress:
    """next: of each partition, the first record not applied. ends: of each, as of a moment ago.

    to_read: where the partitions of a view ended when it started; None: it has not.
    """

    def __init__(self) -> None:
        self.next: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.to_read: dict[TopicPartition, int] | None = None
        self._behind_since: float | None = time.monotonic()

    def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        return not any(self.next.get(at, 0) < end for at, end in ends.items())

    def measure(self, *, current: bool) -> None:
        """Note whether it is behind, and since when. current: it is not, but for records that are known to wait."""
        if current and not self.lag_records():
            self._behind_since = None
        else:
            self._behind_since = self._behind_since or time.monotonic()

    def lag_records(self) -> int:
        """May be asked from any thread."""
        return sum(max(0, self.ends.get(at, 0) - done) for at, done in list(self.next.items()))

    def lag_s(self) -> float:
        """For how long it has been behind; 0.0 = it is not. May be asked from any thread."""
        since = self._behind_since
        return time.monotonic() - since if since else 0.0
