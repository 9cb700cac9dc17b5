"""Decisions as server-sent events, for one reader.

    event: snapshot     the whole fleet, as `GET /v1/gpus` shows it: forget what you knew
    event: decision     one GPU, as it stands in `gpus` there
    event: gone         nothing is known under this key any more
    event: dropped      the last one: you are too far behind; come again with the last id

The id of an event is the position to resume from (Last-Event-ID). A snapshot comes first, unless the reader names
an id of which all that came later is still kept. Lines that begin with a colon are signs of life:
`: behind_s 0.0` says for how long what was sent up to here may have been out of date.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable

from sinks.fleet import AsOf, Fleet

STREAM = "/v1/decisions/stream"
HEARTBEAT_S = 15.0
PIECE_EVENTS = 100
RETRY_MS = 1000  # after which a reader that was cut off comes again

logger = logging.getLogger(__name__)


class EventStream:
    """A reader has no queue of its own: it reads the fleet's latest events at its own pace, until they are gone.

    snapshot: the fleet as it is now: how far that reaches, and one line in pieces. behind_s: for how long the fleet
    may have been out of date. left: called once at the end, with whether the reader was too slow.
    """

    def __init__(
        self,
        fleet: Fleet,
        snapshot: Callable[[], tuple[AsOf, Iterable[bytes]]],
        behind_s: Callable[[], float],
        heartbeat_s: float,
        left: Callable[[bool], None],
    ) -> None:
        self._fleet = fleet
        self._snapshot = snapshot
        self._behind_s = behind_s
        self._heartbeat_s = heartbeat_s
        self._left = left
        self._dropped = False

    def run(self, last_id: str | None) -> Generator[bytes, None, None]:
        """What is to be sent, as it comes. last_id: of the last event that the reader has seen."""
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            yield from self._events(last_id)
        finally:
            self._left(self._dropped)

    def _events(self, last_id: str | None) -> Generator[bytes, None, None]:
        after = self._fleet.resumed(last_id) if last_id else None
        if after is None:
            after = yield from self._whole()
        while not self._fleet.closed:
            found = self._fleet.events(after, PIECE_EVENTS, self._heartbeat_s)
            if found is None:
                self._dropped = True
                logger.info("a reader of the event stream was too slow: events behind offset %d are gone", after)
                yield _event("dropped", b'{"why":"too slow: the events that you lack are not kept any more"}')
                return
            events, after = found
            told = b"".join(
                _event("gone" if event.gone else "decision", event.data, event.as_of.id) for event in events
            )
            yield told + self._sign_of_life(after)

    def _sign_of_life(self, sent: int) -> bytes:
        """Of a reader that lacks what the fleet knows it cannot be said how far it is behind."""
        behind_s = self._behind_s()
        if self._fleet.as_of.offset > sent:  # asked second: then all that counts as known has been sent
            return b": more follows\n\n"
        return b": behind_s %.3f\n\n" % behind_s

    def _whole(self) -> Generator[bytes, None, int]:
        """The snapshot; returns the offset that it reaches to."""
        as_of, pieces = self._snapshot()
        yield b"id: %s\nevent: snapshot\ndata: " % as_of.id.encode()
        yield from pieces  # the last one ends the line
        yield b"\n"
        return as_of.offset


def _event(name: str, data: bytes, id: str = "") -> bytes:
    return b"%sevent: %s\ndata: %s\n\n" % (f"id: {id}\n".encode() if id else b"", name.encode(), data)
