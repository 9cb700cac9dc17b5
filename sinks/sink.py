"""The contract of a sink: records -> the world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from schemas.log import Record


class SinkError(Exception):
    """The world would not take it now; the same records are given again."""


class Sink(ABC):
    """Applies records of its topics, in order, at least once: applying one twice changes nothing.

    topics: what it reads. rebuilds: a view that starts from the oldest retained record each time (metrics,
    console); otherwise it resumes behind what it has applied (streams, effects). recent_s: topics of which a
    view needs only the newest so many seconds; it may be given more. batch_max: records given at once.
    outage: why a sink that works beside `apply` cannot do so now; "" = it can. alone: a view of which one process at a
    time is given anything; others stand by.
    """

    name: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]
    rebuilds: ClassVar[bool] = False
    recent_s: ClassVar[Mapping[str, float]] = {}
    batch_max: ClassVar[int] = 512
    outage: str = ""
    alone: ClassVar[bool] = False

    @abstractmethod
    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        """Apply `records` (one partition of one topic, offsets rising: each partition counts its own).

        Raises SinkError: not all of it is applied, try again.
        """

    def caught_up(self) -> None:
        """A view has been given all that was there when it started. Called once (of one that is alone: each time
        that it takes its place); what follows is news."""

    async def let_go(self) -> None:
        """Of one that is alone: another process has its place now. Nothing is done until it has `caught_up` again."""

    async def close(self) -> None:
        """Flush and let go; harmless twice."""


class Applied:
    """How far a sink has come in each partition: what is at or before that is a double."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, int], int] = {}

    def fresh(self, topic: str, partition: int, records: Sequence[Record]) -> list[Record]:
        """Those that have not been applied."""
        newest = self._newest.get((topic, partition), -1)
        return [record for record in records if record.offset > newest]

    def add(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """They have been applied now."""
        if records:
            newest = self._newest.get((topic, partition), -1)
            self._newest[topic, partition] = max(newest, records[-1].offset)
