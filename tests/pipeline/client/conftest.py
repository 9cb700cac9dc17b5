"""A real server of decisions, over a fleet that a test feeds; and short waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from schemas import topics
from schemas.log import Origin, Output, Record
from sinks.decisions_http import DecisionPages, DecisionsSink
from sinks.fleet import Fleet
from sinks.http import HttpServer

SOON_S = 60.0


class Api:
    """behind_s: what it says of itself. Can be closed and opened again, on the same port."""

    def __init__(self, events_kept: int = 1000) -> None:
        self.behind_s = 0.0
        self.port = self._given = 0
        self._events_kept = events_kept
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self, generation: int = 0) -> None:
        """Knows nothing, like one that was just started."""
        self.sink = DecisionsSink(Fleet(generation, self._events_kept))
        self._generation, self._given = generation, 0
        pages = DecisionPages(self.sink.fleet, lambda: self.behind_s, lambda: (b"", ""), dict, dict, heartbeat_s=0.05)
        self.server = HttpServer("127.0.0.1", self.port, pages)
        self.port = self.server.port
        self.server.start()

    def give(self, *outputs: Output, live: bool = True) -> None:
        told = [
            Record(
                self._given + at,
                out.ts,
                out.key,
                out.kind,
                out.value,
                Origin("cluster", 0, out.offset, out.ordinal, self._generation),
            )
            for at, out in enumerate(outputs)
        ]
        asyncio.run(self.sink.apply(topics.DECISIONS, told))
        self._given += len(told)
        if live and not self.sink.fleet.live:
            self.sink.caught_up()

    def close(self) -> None:
        asyncio.run(self.sink.close())
        self.server.close()


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.close()


@pytest.fixture(scope="session")
def soon() -> Callable[[Callable[[], object]], None]:
    """Waits until something holds."""

    def wait(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + SOON_S
        while not holds():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    return wait
