"""The sink: reads the cases into a view, and sends beside that what they ask for.

It keeps nothing: started anew it reads all cases that there are, and sends again what still stands there. An agent
does each id but once, however often it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import ClassVar, Protocol

import msgspec
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from schemas import topics
from schemas.commands import CANCEL
from schemas.log import Record
from schemas.records import Command, Eviction
from sinks.commander.orders import REPLACED, Orders
from sinks.families import counter, gauge
from sinks.pace import Pace
from sinks.sink import Applied, Sink, SinkError

BACKOFF_S = (0.2, 5.0)
NONE = {REPLACED: 0, "expired": 0}  # shown from the start

logger = logging.getLogger(__name__)


class Outbox(Protocol):
    """The way to the nodes. Both raise SinkError: the log does not answer; try again."""

    async def current(self) -> None:
        """Returns once the sink has been given all that was in the log when it asked."""
        ...

    async def send(self, command: Command) -> None:
        """Signs it. After return it is in the log; after an exception it may be."""
        ...

    async def close(self) -> None: ...


class CommanderSink(Sink, Collector):
    """outbox: None = a dry run, which only says what would be sent. per_s: commands a second, at most.

    Guarantees: what it sends the newest record of its GPU asks for, as of a moment before, and it has not expired by
    our clock. What could not be sent for an outage is sent after it, unless it has expired or is not asked for any
    more. Collected by any thread.
    """

    name = "commander"
    topics = (topics.EVICTIONS,)
    rebuilds: ClassVar[bool] = True

    def __init__(self, outbox: Outbox | None, per_s: float = 5.0, now_ms: Callable[[], int] | None = None) -> None:
        self._outbox = outbox
        self._orders = Orders()
        self._pace = Pace(per_s)
        self._now_ms = now_ms or _wall_ms
        self._applied = Applied()
        self._news = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self.sent: Counter[str] = Counter()  # by action

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        if self._work and self._work.done():
            self._work.result()  # raises what has ended it
        for record in self._applied.fresh(topic, partition, records):
            eviction = _eviction(record.value) if record.value else None
            self._orders.take(record.key, eviction, news=self._work is not None)
        self._applied.add(topic, partition, records)
        self._news.set()

    def caught_up(self) -> None:
        self._work = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """What waits is sent after the next start."""
        work, self._work = self._work, None
        if work:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
        if self._outbox:
            await self._outbox.close()

    async def _run(self) -> None:
        wait_s, longest_s = BACKOFF_S
        while True:
            self._news.clear()
            if self._orders.next(self._now_ms()) is None:
                await self._news.wait()
                continue
            await self._pace()
            try:
                await self._send()
            except SinkError as outage:
                self._fails(str(outage))
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, longest_s)
            else:
                self._works()
                wait_s = BACKOFF_S[0]

    async def _send(self) -> None:
        """The next one, as of now: after an outage a newer record may have taken it back."""
        if self._outbox:
            await self._outbox.current()
        command = self._orders.next(self._now_ms())
        if command is None:
            return
        if self._outbox:
            self._orders.sending = command.id
            await self._outbox.send(command)
        self._orders.settle(command)
        self.sent[command.action] += 1
        how = "sent" if self._outbox else "dry run: it would have been sent"
        logger.info("%s to %s as %s (case %s): %s", _words(command), command.node, command.id, command.case, how)

    def _fails(self, why: str) -> None:
        """One line an outage, not one a try."""
        if not self.outage:
            logger.warning("%s waits: %s", self.name, why)
        self.outage = why

    def _works(self) -> None:
        if self.outage:
            logger.warning("%s goes on", self.name)
        self.outage = ""

    def collect(self) -> Iterator[Metric]:
        yield counter(
            "gpu_vitals_commander_commands",
            "Commands sent to nodes; in a dry run, that would have been sent.",
            ("action",),
            [((action,), count) for action, count in sorted(self.sent.copy().items())],
        )
        yield counter(
            "gpu_vitals_commander_skipped",
            "Commands that were not sent: replaced (by a newer record of the GPU), or why no agent would do them now.",
            ("reason",),
            [((reason,), count) for reason, count in sorted({**NONE, **self._orders.skipped.copy()}.items())],
        )
        yield gauge(
            "gpu_vitals_commander_waiting",
            "Commands that are still to be sent.",
            (),
            [((), self._orders.waiting())],
        )
        yield gauge(
            "gpu_vitals_commander_enabled",
            "1 where commands are sent, 0 in a dry run, which only says what it would send.",
            (),
            [((), float(self._outbox is not None))],
        )


def _words(command: Command) -> str:
    if command.action == CANCEL:
        return f"cancel of {command.parameters['command']}"
    return f"{command.action} of {command.uuid}"


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


_eviction = msgspec.json.Decoder(Eviction).decode
