"""The live view: what the fleet looks like now, on one terminal screen. `sinks.screen` draws it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from schemas import topics
from schemas.log import Record
from sinks.sink import Applied, Sink
from sinks.view import Facts, View

if TYPE_CHECKING:
    from rich.console import Console

REDRAW_S = 0.5
REST_PER_DRAW = 60  # for every second of drawing so many of rest: below 2 % of a core on any machine


class ConsoleSink(Sink):
    """Keeps the view; `show` draws it. facts: asked at each drawing."""

    name = "console"
    topics = (topics.SCORES, topics.DECISIONS, topics.EVICTIONS, topics.XIDS)
    rebuilds: ClassVar[bool] = True

    def __init__(self, facts: Callable[[], Facts], console: Console | None = None) -> None:
        from rich.console import Console

        self.view = View()
        self._facts = facts
        self._console = console or Console()
        self._applied = Applied()

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        for record in self._applied.fresh(topic, partition, records):
            try:
                self.view.take(topic, record)
            except ValueError:  # of a newer version: shown by a newer view
                continue
        self._applied.add(topic, partition, records)

    async def show(self) -> None:
        """Draw until cancelled; then leave the last view on the terminal."""
        from rich.live import Live

        from sinks.screen import draw

        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                started = time.process_time()
                live.update(draw(self.view, self._facts(), self._console), refresh=True)
                drawing_s = time.process_time() - started
                try:
                    await asyncio.sleep(max(REDRAW_S, REST_PER_DRAW * drawing_s))
                except asyncio.CancelledError:
                    break
        self._console.print(draw(self.view, self._facts(), self._console))
