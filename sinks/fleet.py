"""The newest decision about every GPU, and the latest events that led there, for readers in other threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Condition
from typing import NamedTuple

from schemas.log import Record
from sinks.newest import Newest
from sinks.shown import Gone, Shown, encode, shown

EVENTS_KEPT = 10_000  # of the latest; a reader that is further behind starts from a snapshot


class AsOf(NamedTuple):
    """How far the view has come: offset and origin of the newest decision it has been given."""

    generation: int = 0
    offset: int = -1
    origin: str = ""
    ts: int = 0

    @property
    def id(self) -> str:
        """generation/offset: a position that no log which was made anew uses again."""
        return f"{self.generation}/{self.offset}"


class Event(NamedTuple):
    """One change, as JSON."""

    as_of: AsOf
    gone: bool
    data: bytes


class Fleet:
    """Fed by one thread, read by any number. generation: of the log."""

    def __init__(self, generation: int = 0, events_kept: int = EVENTS_KEPT) -> None:
        self._changed = Condition()
        self._gpus: dict[str, Shown] = {}
        self._slots: dict[str, str] = {}  # node/BDF to the key of the GPU that was decided about there last
        self._newest = Newest()
        self._as_of = AsOf(generation)
        self._events: deque[Event] = deque(maxlen=events_kept)
        self._complete_from = -1  # all events behind this offset are kept
        self.stale = 0  # decisions that were not newer than what was known
        self.unreadable = 0
        self.live = False
        self.closed = False

    def __len__(self) -> int:
        """How many GPUs are known."""
        return len(self._gpus)

    @property
    def as_of(self) -> AsOf:
        with self._changed:
            return self._as_of

    def take(self, records: Sequence[Record]) -> None:
        """In the order of the log; what is not newer, or cannot be read, is only counted."""
        with self._changed:
            for record in records:
                self._take(record)
            self._changed.notify_all()

    def go_live(self) -> None:
        """All that there was has been taken: from here on it can be read, and every change is an event."""
        with self._changed:
            self.live = True
            self._complete_from = self._as_of.offset

    def close(self) -> None:
        """Those who wait for events get no more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def gpus(self) -> tuple[AsOf, list[Shown]]:
        """All GPUs at one moment, in a stable order: by cluster, node, PCI address and UUID."""
        with self._changed:
            as_of, gpus = self._as_of, list(self._gpus.values())
        gpus.sort(key=lambda gpu: (gpu.cluster, gpu.node, gpu.bdf, gpu.uuid))
        return as_of, gpus

    def gpu(self, key: str) -> tuple[AsOf, Shown | None]:
        """key: the UUID; or node/BDF, also of a GPU whose UUID is known."""
        with self._changed:
            found = self._gpus.get(key) or self._gpus.get(self._slots.get(key, ""))
            return self._as_of, found

    def resumed(self, id: str) -> int | None:
        """The offset to go on behind, from the `id` that a reader has seen last; None: it needs a snapshot."""
        generation, _, offset = id.partition("/")
        with self._changed:
            if generation != str(self._as_of.generation) or not offset.isdecimal():
                return None
            return int(offset) if self._complete_from <= int(offset) <= self._as_of.offset else None

    def events(self, after: int, most: int, wait_s: float) -> tuple[list[Event], int] | None:
        """The events behind the offset `after`, at most `most`, waited for; and the offset to go on behind.

        None: some of them are not kept any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._as_of.offset > after, wait_s)
            if after < self._complete_from:
                return None
            found = []
            for event in reversed(self._events):  # most readers lack only the last ones
                if event.as_of.offset <= after:
                    break
                found.append(event)
            first = found[: -most - 1 : -1]
            return first, first[-1].as_of.offset if len(first) < len(found) else self._as_of.offset

    def _take(self, record: Record) -> None:
        if not self._newest.is_news(record):
            self.stale += 1
            return
        try:
            decided = shown(record)
        except ValueError:  # of a newer version
            self.unreadable += 1
            return
        self._newest.add(record)
        if record.offset > self._as_of.offset:
            self._as_of = self._as_of._replace(offset=record.offset, origin=decided.origin, ts=record.ts)
        if isinstance(decided, Gone):
            if self._gpus.pop(record.key, None) is None:
                return
        else:
            self._gpus[record.key] = decided
            self._slots[f"{decided.node}/{decided.bdf}"] = record.key
        if self.live:
            self._remember(Event(self._as_of, isinstance(decided, Gone), encode(decided)))

    def _remember(self, event: Event) -> None:
        if len(self._events) == self._events.maxlen:
            self._complete_from = self._events[0].as_of.offset
        self._events.append(event)
