"""The newest record of each key of a compacted topic."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from schemas.log import Record

T = TypeVar("T")


class Known(Generic[T]):
    """type_: of the topic's records."""

    def __init__(self, type_: type[T]) -> None:
        self._decode = msgspec.json.Decoder(type_).decode
        self._known: dict[str, T] = {}

    def take(self, record: Record) -> None:
        """Raises ValueError for a record that cannot be read."""
        if record.value:
            self._known[record.key] = self._decode(record.value)
        else:
            self._known.pop(record.key, None)

    @property
    def all(self) -> list[T]:
        return list(self._known.values())
