"""Server-sent events out of bytes, in whatever pieces they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

EVENT_BYTES_MAX = 1 << 30  # more than a snapshot of a million GPUs


class StreamEvent(NamedTuple):
    """name: empty for a comment (a line that begins with a colon), whose text is `data`."""

    name: str
    id: str
    data: bytes


class EventLines:
    """One connection's parser. What stands at its end without an empty line behind it is no event."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of a line that has not ended
        self._kept = 0
        self._name = self._id = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[StreamEvent]:
        """The events that this piece completes. Raises ValueError: one is larger than any that we would send."""
        *whole, rest = piece.split(b"\n")
        for line in whole:
            self._pieces.append(line)
            yield from self._line(b"".join(self._pieces).removesuffix(b"\r"))
            self._pieces.clear()
        self._pieces.append(rest)
        self._kept = len(rest) if whole else self._kept + len(rest)
        if self._kept > EVENT_BYTES_MAX:
            raise ValueError(f"an event of more than {EVENT_BYTES_MAX} bytes")

    def _line(self, line: bytes) -> Iterator[StreamEvent]:
        if not line:
            if self._data:
                yield StreamEvent(self._name or "message", self._id, b"\n".join(self._data))
            self._name, self._data = "", []
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not field:
            yield StreamEvent("", self._id, value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"id":
            self._id = value.decode("utf-8", "replace")
        elif field == b"data":
            self._data.append(value)
