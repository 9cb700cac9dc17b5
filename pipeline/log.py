"""The contract of a log: where records live, and how a stage's outputs and position become durable together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

from schemas.log import Checkpoint, Output, Part, Record


class Unavailable(Exception):
    """The log cannot be reached or written just now: restore, then try again."""


class Fenced(Exception):
    """Another owner has the partition: stop."""


class Entry(NamedTuple):
    """One record to append. ts: append time in ms; None = the log's clock, now. partition: None = of the key."""

    key: str
    kind: str
    value: bytes
    ts: int | None = None
    partition: int | None = None


class Log(Protocol):
    """What every log gives a stage: one order, one position, all or nothing."""

    async def restore(self, part: Part) -> tuple[Checkpoint | None, int]:
        """The newest checkpoint of `part` and its committed position (offset of the first record not committed)."""
        ...

    def read(self, part: Part, offset: int) -> AsyncGenerator[list[Record]]:
        """Records from `offset` on, in batches cut arbitrarily; an empty batch after a second without news.

        Ends only when the log is complete (a recording) or closed.
        """
        ...

    async def commit(
        self, part: Part, outputs: Sequence[Output], next_offset: int, checkpoint: Checkpoint | None = None
    ) -> None:
        """Make outputs and position durable, together or not at all.

        next_offset: offset of the first record not yet stepped; never below the committed one.
        Guarantees: after return every reader sees all of it at once or (Kafka) some ms later, even if this process
            dies now; after an exception readers see all or nothing, unknown which: call `restore` before anything
            else.
        Raises: Fenced, another owner has the partition: stop. Unavailable: restore, then try again.
        """
        ...


class Ingress(Protocol):
    """The other side: where entries are put."""

    async def append(self, topic: str, entries: Sequence[Entry]) -> None:
        """Append `entries` in order. Raises Unavailable: any of them may be there."""
        ...


class SourceIngress(Ingress, Protocol):
    """Where sources put what they saw, and how far they have read for it."""

    async def append(self, topic: str, entries: Sequence[Entry], source: str = "", position: str | None = None) -> None:
        """Append `entries` and remember `position` of `source`, together or not at all. Raises Unavailable."""
        ...

    async def position(self, source: str) -> str | None:
        """What was last remembered for `source`."""
        ...
