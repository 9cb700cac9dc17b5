"""The contract between a stage and whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.log import Checkpoint, Output, Record


class Task(Protocol):
    """One partition of one stage: pure, a function of the records it was given, in their order.

    Guarantees: outputs come ordered by (offset, ordinal); how the records were cut into batches, and whether a
    checkpoint was taken and restored in between, shows nowhere in outputs or state.
    """

    def step(self, records: Sequence[Record]) -> list[Output]:
        """Consume `records` (offsets rising, each once) and return what they cause. Never raises on bad input."""
        ...

    def checkpoint(self) -> Checkpoint:
        """The state after everything stepped so far; equal bytes for an equal input log."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`. Raises ValueError if it is damaged, or of another version."""
        ...
