"""The contract of a sink: records -> the world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from schemas.log import Record


class SinkError(Exception):
    """The world would not take it now; the same records are given again."""


class Sink(ABC):
    """Applies records of its topics, in order, at least once: applying one twice changes nothing.

    topics: what it reads. rebuilds: a view that starts from the oldest retained record each time (metrics,
    console); otherwise it resumes behind what it has applied (streams, effects).
    """

    name: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]
    rebuilds: ClassVar[bool] = False

    @abstractmethod
    async def apply(self, topic: str, records: Sequence[Record]) -> None:
        """Apply `records` (one topic, offsets rising). Raises SinkError: nothing counts as applied, try again."""

    async def close(self) -> None:
        """Flush and let go; harmless twice."""
