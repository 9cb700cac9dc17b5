"""One sink as a process: builds it, drives it from Kafka, serves what it has to show, and ends when it is told."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from prometheus_client.registry import Collector

from pipeline import logs
from pipeline.commander.build import commander_sink
from pipeline.errors import UsageProblem
from pipeline.explain import explainer
from pipeline.kafka.follow import KafkaFollower
from pipeline.kafka.history import KafkaHistory
from pipeline.kafka.settings import Kafka
from pipeline.schedulers.build import scheduler_sink
from pipeline.schedulers.reports import KafkaReports
from pipeline.settings import Settings, parse_address
from pipeline.tickets.build import ticket_sink
from pipeline.tickets.settings import TicketSettings
from sinks.commander.sink import CommanderSink
from sinks.console import ConsoleSink
from sinks.decisions_http import DecisionPages, DecisionsSink
from sinks.explain_http import GPUS
from sinks.families import CONTENT_TYPE, page
from sinks.fleet import Fleet
from sinks.follower_metrics import FollowerMetrics
from sinks.http import HttpServer, Pages
from sinks.metrics import MetricsSink
from sinks.schedulers.sink import SchedulerSink
from sinks.sink import Sink
from sinks.stream import DecisionLines, DecisionStream
from sinks.tickets.sink import TicketSink
from sinks.view import Facts
from sinks.webhook import Webhook

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_S = 5.0  # for what is being applied
NOTES = 2  # warnings that the live view shows

logger = logging.getLogger(__name__)


class Options(NamedTuple):
    """What a sink is told beside where Kafka is. listen: [HOST:]PORT. group: its name among the groups of sinks.

    url, token_file, changes_only: of a webhook. live_view: the console draws instead of printing lines.
    tickets: where they go. settings: all of them; the commander and each kind of scheduler have tables of their own.
    """

    listen: str | None = None
    group: str | None = None
    url: str = ""
    token_file: Path | None = None
    changes_only: bool = False
    live_view: bool = False
    tickets: TicketSettings = TicketSettings()
    settings: Settings = Settings()


def run(name: str, kafka: Kafka, options: Options) -> None:
    """Until a signal. Raises UsageProblem for what a user can mend, BrokenPipeError when nobody reads the lines."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says everything at each try; we say it once
    with logs.collected(options.live_view, dated=True) as warnings:
        asyncio.run(_Process(name, kafka, options, warnings).run())


class _Process:
    def __init__(self, name: str, kafka: Kafka, options: Options, warnings: deque[str]) -> None:
        self._kafka = kafka
        self._options = options
        self._warnings = warnings
        self._started = time.monotonic()
        makers: dict[str, Callable[[], Sink]] = {
            "metrics": MetricsSink,
            "decisions": lambda: DecisionsSink(Fleet(kafka.generation)),
            "console": lambda: ConsoleSink(self._facts) if options.live_view else DecisionLines(sys.stdout.buffer),
            "webhook": lambda: Webhook(options.url, options.token_file, options.changes_only),
            "stream": lambda: DecisionStream(sys.stdout.buffer),
            "tickets": lambda: _tickets(options.tickets),
            "commander": lambda: commander_sink(options.settings.commander, kafka, lambda: self._follower.current()),
            "scheduler": lambda: scheduler_sink(options.settings, os.environ, KafkaReports(kafka)),
        }
        self._name = name
        self._sink = makers[name]()
        self._follower = KafkaFollower(self._sink, kafka, options.group or name)
        if isinstance(self._sink, SchedulerSink):
            self._sink.may_add = lambda: not self._follower.away

    async def run(self) -> None:
        stop = asyncio.Event()
        self._until_told(stop)
        server = self._listen()
        path = GPUS if isinstance(self._sink, DecisionsSink) else "/metrics"
        where = f"; http://{server.host}:{server.port}{path}" if server else ""
        logger.info("%s from Kafka at %s%s", self._name, self._kafka.bootstrap, where)
        following = asyncio.create_task(self._follower.run())
        stopped = asyncio.create_task(stop.wait())
        view = asyncio.create_task(self._sink.show()) if isinstance(self._sink, ConsoleSink) else None
        try:
            await asyncio.wait([following, stopped], return_when=asyncio.FIRST_COMPLETED)
            self._follower.stop()
            await asyncio.wait([following], timeout=STOP_S)
            if following.done():
                following.result()  # raises what has ended it
            logger.info("%s ends", self._name)
        finally:
            for task in (following, stopped, view):
                if task:
                    task.cancel()
            await asyncio.gather(*filter(None, (following, stopped, view)), return_exceptions=True)
            await self._sink.close()
            if server:
                server.close()

    def _until_told(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def end() -> None:
            """At the first signal in order; at the next one at once."""
            stop.set()
            for each in ENDING:
                loop.remove_signal_handler(each)

        for each in ENDING:
            loop.add_signal_handler(each, end)

    def _listen(self) -> HttpServer | None:
        if not self._options.listen:
            return None
        host, port = parse_address(self._options.listen)
        try:
            server = HttpServer(host, port, self._pages())
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageProblem(f"cannot listen on {self._options.listen}: {why}", "name another port") from None
        server.start()
        return server

    def _pages(self) -> Pages:
        collectors: list[Collector] = [FollowerMetrics(self._follower.stats)]
        if isinstance(self._sink, MetricsSink | TicketSink | CommanderSink | SchedulerSink):
            collectors.append(self._sink)

        def metrics() -> tuple[bytes, str]:
            return page(*collectors), CONTENT_TYPE

        if not isinstance(self._sink, DecisionsSink):
            return Pages(metrics, self._unhealthy, self._unready)
        pages = DecisionPages(
            self._sink.fleet,
            lambda: self._follower.stats().lag_s,
            metrics,
            self._unhealthy,
            self._unready,
            explain=explainer(lambda: KafkaHistory(self._kafka)),
        )
        collectors.append(pages)
        return pages

    def _unhealthy(self) -> dict[str, str]:
        why = self._follower.outage or self._sink.outage
        return {f"sink {self._name}": why} if why else {}

    def _unready(self) -> dict[str, str]:
        """Once it has read all there was it stays ready: what it shows of an outage is still the newest there is."""
        if self._follower.caught_up:
            return {}
        waits = "stands by, or has not read all there is yet" if self._sink.alone else "has not read all there is yet"
        return {f"sink {self._name}": self._follower.away or waits}

    def _facts(self) -> Facts:
        assert isinstance(self._sink, ConsoleSink)
        view = self._sink.view
        newest = view.changes[-1].decision if view.changes else next(iter(view.decisions.values()), None)
        trouble = [why for why in (self._follower.away, self._follower.outage) if why]
        return Facts(
            what=f"Kafka at {self._kafka.bootstrap}, {self._kafka.prefix}*",
            policy=newest.policy if newest else "not known yet",
            running_s=time.monotonic() - self._started,
            event_ms=newest.ts if newest else 0,
            notes=trouble[:NOTES] or list(self._warnings)[-NOTES:],
        )


def _tickets(settings: TicketSettings) -> TicketSink:
    sink = ticket_sink(settings, os.environ)
    if sink is None:
        raise UsageProblem("tickets.to: missing", 'to = "file", or another place, in the table [tickets]')
    return sink
