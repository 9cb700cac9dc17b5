"""What a log holds: records with a position, and the outputs a stage adds to it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Origin(NamedTuple):
    """Which input record caused an output, and which of its outputs it is: orders and deduplicates for ever.

    generation: of the log; a log that was made anew counts its offsets from 0 again.
    """

    stage: str
    partition: int
    offset: int
    ordinal: int
    generation: int = 0

    def __str__(self) -> str:
        """As all who are not us see it, with the numbers that order it in front and behind."""
        return f"{self.generation}/{self.stage}/{self.partition}/{self.offset}/{self.ordinal}"


class Record(NamedTuple):
    """One record as a log hands it to a stage.

    ts: append time, ms since the epoch (the stream clock runs on it). kind: what `value` holds.
    origin: set where a stage derived the record, None where a producer or an operator wrote it.
    """

    offset: int
    ts: int
    key: str
    kind: str
    value: bytes
    origin: Origin | None = None


class Output(NamedTuple):
    """One record that a stage derived. `ts` is the append time of the input record that caused it.

    urgent: readers wait for it (a decision, an event, a command): commit at once, not within the second.
    """

    topic: str
    key: str
    kind: str
    value: bytes
    ts: int
    offset: int
    ordinal: int
    urgent: bool = False


class Checkpoint(msgspec.Struct, frozen=True):
    """A stage's state as a function of its input log up to, and without, `next_offset`."""

    next_offset: int
    data: bytes


class Part(NamedTuple):
    """One partition of one stage: the unit of ownership, of order and of checkpoints."""

    stage: str
    topic: str
    partition: int = 0
