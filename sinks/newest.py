"""Which decision about a GPU is the newest: no weight ever travels back in time."""

from __future__ import annotations

from schemas.log import Origin, Record


class Newest:
    """Remembers the newest decision (or tombstone) of each key.

    A stage says its outputs in the order of their causes: within one stage's partition (generation, offset,
    ordinal) of the origin tells which of two is newer, however often and in whatever order they are delivered.
    Where that cannot be compared, as for a record without an origin, the order of the log stands.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Origin | None, int]] = {}

    def is_news(self, record: Record) -> bool:
        """Whether it is newer than all that was added of its key."""
        known = self._known.get(record.key)
        if known is None:
            return True
        origin, offset = known
        if record.origin and origin and record.origin[:2] == origin[:2]:
            return _place(record.origin) > _place(origin)
        return record.offset > offset

    def add(self, record: Record) -> None:
        """It counts as seen."""
        self._known[record.key] = record.origin, record.offset


def _place(origin: Origin) -> tuple[int, int, int]:
    return origin.generation, origin.offset, origin.ordinal
