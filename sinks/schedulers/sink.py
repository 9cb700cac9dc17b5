"""The sink: reads the cases into a view, and works beside that until the scheduler does what they ask for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import ClassVar, Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from schemas import topics
from schemas.log import Record
from schemas.records import Serving
from sinks.families import counter, gauge
from sinks.schedulers.adapter import Adapter
from sinks.schedulers.reconcile import Reconciler
from sinks.schedulers.view import View
from sinks.sink import Sink

GAP_S = 0.05  # between two looks, however much news there is
STOP_S = 5.0


class Reports(Protocol):
    """Where what the scheduler says is written to."""

    async def send(self, said: Sequence[Serving]) -> None:
        """Durable on return, all of them. Raises SinkError."""

    async def close(self) -> None:
        """Let go; harmless twice."""


class SchedulerSink(Sink, Collector):
    """enabled: act, and report; else only say what would be done. now_ms: the date. Collected by any thread.

    may_add: whether the view is as new as can be; set by whoever feeds it.
    """

    name = "scheduler"
    topics = (topics.EVICTIONS,)
    rebuilds: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def __init__(self, adapter: Adapter, reports: Reports, now_ms: Callable[[], int], enabled: bool = False) -> None:
        self._adapter = adapter
        self._reports = reports
        self._enabled = enabled
        self._view = View()
        self._reconciler = Reconciler(
            self._view, adapter, reports.send, time.monotonic, now_ms, enabled, lambda: self.may_add()
        )
        self._news = asyncio.Event()
        self._stopping = False
        self._work: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self.may_add: Callable[[], bool] = lambda: True
        self.unreadable: Counter[str] = Counter()

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        if self._work and self._work.done():
            self._work.result()  # raises what has ended it
        for record in records:
            try:
                self._view.take(record)
            except ValueError:  # of a newer version
                self.unreadable[topic] += 1
        self._news.set()

    def caught_up(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = False
        self._work = self._work or loop.create_task(self._run())
        self._listening = self._listening or loop.create_task(self._listen())

    async def let_go(self) -> None:
        self._stopping = True
        self._news.set()
        tasks = [task for task in (self._work, self._listening) if task]
        if self._listening:
            self._listening.cancel()
        if self._work:  # a look under way is let finish; then it waits for news, which this is
            await asyncio.wait([self._work], timeout=STOP_S)
            self._work.cancel()
        self._work = self._listening = None
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._reconciler.close()

    async def close(self) -> None:
        await self.let_go()
        await self._adapter.close()
        await self._reports.close()

    @property
    def outage(self) -> str:  # type: ignore[override]
        stats = self._reconciler.stats()
        return stats.away or (f"cannot report: {stats.unsent}" if stats.unsent else "")

    async def _run(self) -> None:
        while not self._stopping:
            self._news.clear()
            wait_s = await self._reconciler.step()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s, GAP_S)):
                    await asyncio.sleep(GAP_S)
                    await self._news.wait()

    async def _listen(self) -> None:
        while True:
            await self._adapter.news()
            self._news.set()
            await asyncio.sleep(GAP_S)

    def collect(self) -> Iterator[Metric]:
        stats = self._reconciler.stats()
        calls = dict(self._reconciler.calls)
        yield counter(
            "gpu_vitals_scheduler_actions",
            "What was asked of the scheduler (drain, force, remove, add), by result: done, away (tried again soon), "
            "refused, error or unsupported (again in a minute), would (a dry run).",
            ("scheduler", "action", "result"),
            [((self._adapter.name, str(call), result), count) for (call, result), count in calls.items()],
        )
        yield gauge(
            "gpu_vitals_scheduler_units_out",
            "Units (GPUs, workers or nodes) that shall not serve, by what the scheduler does with them.",
            ("scheduler", "state"),
            [
                ((self._adapter.name, state), stats.out.get(state, 0))
                for state in ("serving", "drained", "removed", "unknown")
            ],
        )
        for name, text, value in (
            ("in_flight", "Requests or jobs that still run on those units, as far as it can be told.", stats.in_flight),
            ("gpus_unknown", "GPUs with a case of which the scheduler cannot tell how they stand.", stats.unknown),
            ("away_seconds", "For how long the scheduler has not answered; 0: it does.", stats.away_s),
            ("enabled", "1 where it acts, 0 in a dry run, which only says what it would do.", float(self._enabled)),
        ):
            yield gauge(f"gpu_vitals_scheduler_{name}", text, ("scheduler",), [((self._adapter.name,), value)])
