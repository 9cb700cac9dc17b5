"""Which Xids are news: none is told twice, none that was there before us is told at all, and none is missed."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from producers.dcgm.inventory import Place

LATE_US = 10_000_000  # the engine may store an Xid this much later than it happened, by the time it gives it
POSITION_KEYS_MAX = 200  # of a storm of Xids a restarted agent may tell some twice: the same event at the same time


class Event(NamedTuple):
    """ts: when the Xid happened, us since the epoch."""

    place: Place
    ts: int
    code: int


Key = tuple[str, int | None, int | None, int, int]


class _Position(msgspec.Struct):
    from_us: int
    seen: list[Key] = []


class Xids:
    """Remembers what has been told of the newest seconds, and from when on it is complete.

    The engine shows the last Xid of an entity for ever, and all of them only from a given time on; those from the
    kernel's log it stores up to a second later than the time it gives them. Who asks for what is new since the last
    call therefore misses some for good. We ask for the newest seconds again and again, and leave out what we know.
    The last Xid counts, too: one that is another than before is news however late it comes.
    """

    def __init__(self) -> None:
        self.from_us: int | None = None  # None = nothing has been read yet
        self._seen: set[Key] = set()
        self._last: dict[tuple[str, int | None, int | None], Key] = {}
        self._set_back = False  # the clock was

    def resume(self, position: str | None) -> None:
        """Go on where `position` left off. Raises ValueError if it is none."""
        if position is not None:
            was = msgspec.json.decode(position, type=_Position)
            self.from_us, self._seen = was.from_us, set(was.seen)

    def position(self) -> str | None:
        if self.from_us is None:
            return None
        newest = sorted(self._seen, key=lambda key: (key[3], str(key)))[-POSITION_KEYS_MAX:]
        return msgspec.json.encode(_Position(self.from_us, newest)).decode()

    def connected(self, now_us: int) -> None:
        """A connection has been made: what an engine shows of times before the first one is old news."""
        if self.from_us is None:
            self.from_us = now_us
        self._last.clear()

    def news(self, last: list[Event], since: list[Event], now_us: int) -> list[Event]:
        """What has happened and was not told. last: the last Xid of each entity. since: all from `from_us` on.

        now_us: when they were asked for.
        """
        assert self.from_us is not None, "connected() comes first"
        fresh: dict[Key, Event] = {}
        if self._set_back:  # times from before that look new now
            self._seen |= {_key(event) for event in since} - {_key(event) for event in last}
            self._set_back = False
        for event in since:
            if event.ts > self.from_us:
                fresh.setdefault(_key(event), event)
        for event in last:
            key = _key(event)
            before = self._last.get(key[:3])
            self._last[key[:3]] = key
            if event.ts > self.from_us if before is None else before != key:
                fresh.setdefault(key, event)
        told = [event for key, event in fresh.items() if key not in self._seen]
        self._set_back = now_us < self.from_us
        self.from_us = now_us - LATE_US if self._set_back else max(self.from_us, now_us - LATE_US)
        self._seen = {key for key in self._seen | fresh.keys() if key[3] > self.from_us}
        return sorted(told, key=lambda event: event.ts)


def _key(event: Event) -> Key:
    place = event.place
    return place.gpu.uuid or place.gpu.bdf, place.gi, place.ci, event.ts, event.code
