"""The live view: what the fleet looks like now, on one terminal screen. `sinks.screen` draws it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import msgspec

from schemas import records, topics
from schemas.log import Record
from schemas.states import CaseState
from sinks.sink import Sink

if TYPE_CHECKING:
    from rich.console import Console

LATEST = 100  # events and decisions remembered: more than a screen shows
REDRAW_S = 0.5
REST_PER_DRAW = 60  # for every second of drawing so many of rest: below 2 % of a core on any machine


class Facts(NamedTuple):
    """What the pipeline says of itself. event_ms: time of the newest record judged, 0 before the first.

    notes: what a user must know (a source that fails, an outage), most important first.
    """

    what: str
    policy: str
    running_s: float
    event_ms: int = 0
    notes: Sequence[str] = ()


class Change(NamedTuple):
    """A decision, and the weight that the GPU had before."""

    before: float
    decision: records.Decision


class View:
    """The state behind the screen: newest score and decision of each GPU, latest events and decisions."""

    def __init__(self) -> None:
        self.scores: dict[str, records.Score] = {}
        self.decisions: dict[str, records.Decision] = {}
        self.events: deque[records.Xid] = deque(maxlen=LATEST)
        self.changes: deque[Change] = deque(maxlen=LATEST)

    def take(self, topic: str, record: Record) -> None:
        """Raises ValueError for a record that cannot be read."""
        if topic == topics.XIDS:
            self.events.append(_xid(record.value))
        elif not record.value:
            (self.scores if topic == topics.SCORES else self.decisions).pop(record.key, None)
        elif topic == topics.SCORES:
            self.scores[record.key] = _score(record.value)
        else:
            self._decided(record.key, _decision(record.value))

    def _decided(self, key: str, decision: records.Decision) -> None:
        known = self.decisions.get(key)
        self.decisions[key] = decision
        first_and_fine = known is None and decision.weight == 1.0 and decision.state is CaseState.IN_SERVICE
        if not first_and_fine:  # a fleet that comes up is not news
            self.changes.append(Change(known.weight if known else 1.0, decision))


class ConsoleSink(Sink):
    """Keeps the view; `show` draws it. facts: asked at each drawing."""

    name = "console"
    topics = (topics.SCORES, topics.DECISIONS, topics.XIDS)
    rebuilds: ClassVar[bool] = True

    def __init__(self, facts: Callable[[], Facts], console: Console | None = None) -> None:
        from rich.console import Console

        self.view = View()
        self._facts = facts
        self._console = console or Console()
        self._applied: dict[str, int] = {}

    async def apply(self, topic: str, records: Sequence[Record]) -> None:
        for record in records:
            if record.offset > self._applied.get(topic, -1):
                self._applied[topic] = record.offset
                try:
                    self.view.take(topic, record)
                except ValueError:  # of a newer version: shown by a newer view
                    continue

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


_score = msgspec.json.Decoder(records.Score).decode
_decision = msgspec.json.Decoder(records.Decision).decode
_xid = msgspec.json.Decoder(records.Xid).decode
