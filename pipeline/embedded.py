"""One run on one machine: opens the log, chooses what to show, listens, and lets go of all of it at the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import logs, policy_errors
from pipeline.app import App, cancel
from pipeline.errors import UsageProblem
from pipeline.explain import explainer
from pipeline.log import Unavailable
from pipeline.operators.listener import Listener
from pipeline.plan import Plan, plan
from pipeline.recorder import Recorder
from pipeline.runner import UnreadableState
from pipeline.settings import Settings, parse_address
from pipeline.sqlite_history import SqliteHistory
from pipeline.sqlite_log import DataDirectoryError, SqliteLog
from pipeline.tickets.build import ticket_sink
from processors.policy import Policy, to_change
from sinks.console import ConsoleSink
from sinks.explain_http import ExplainPages
from sinks.families import CONTENT_TYPE, page
from sinks.http import HttpServer
from sinks.metrics import MetricsSink
from sinks.own_health import StageStats
from sinks.sink import Sink
from sinks.stream import DecisionStream
from sinks.view import Facts

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTES = 2  # warnings that the live view shows


def run(settings: Settings, live_view: bool) -> None:
    """Raises UsageProblem for what a user can mend, BrokenPipeError when nobody reads the decisions."""
    planned = plan(settings)
    policy = policy_errors.load(settings.policy)
    with ExitStack() as stack:
        warnings = stack.enter_context(logs.collected(live_view))
        directory = planned.data_dir or Path(stack.enter_context(TemporaryDirectory(prefix="gpu-vitals-")))
        try:
            log = SqliteLog(directory)
        except DataDirectoryError as error:
            raise UsageProblem(str(error)) from None

        async def use_log() -> None:
            try:
                await _Run(settings, planned, policy, log, directory, warnings, live_view).run()
            finally:
                await log.close()

        try:
            asyncio.run(use_log())
        except Unavailable as error:
            raise UsageProblem(f"{directory}: {error}") from None
        except UnreadableState as problem:
            help = "name another --data-dir, or go on with the release that has written this one"
            raise UsageProblem(f"{directory}: {problem.text}", help) from None


class _Run:
    """Ties an app to what shows it."""

    def __init__(
        self,
        settings: Settings,
        planned: Plan,
        policy: Policy,
        log: SqliteLog,
        directory: Path,
        warnings: deque[str],
        live_view: bool,
    ) -> None:
        self._settings = settings
        self._planned = planned
        self._policy = policy
        self._directory = directory
        self._warnings = warnings
        self._started = time.monotonic()
        self._console = ConsoleSink(self._facts) if live_view else None
        self._metrics = MetricsSink(self._stage_stats) if settings.listen else None
        sinks: list[Sink] = [self._console or DecisionStream(sys.stdout.buffer)]
        if self._metrics:
            sinks.append(self._metrics)
        self._tickets = ticket_sink(settings.tickets, os.environ, directory)
        if self._tickets:
            sinks.append(self._tickets)
        self._app = App(
            log,
            planned.sources,
            to_change(policy, 0),
            sinks,
            recorder=Recorder(Path(settings.record), log) if settings.record else None,
            node=settings.node,
            cluster=settings.cluster,
        )

    async def run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            """At the first signal in order; at the next one at once."""
            stop.set()
            for each in ENDING:
                loop.remove_signal_handler(each)

        for each in ENDING:
            loop.add_signal_handler(each, end)
        server = self._listen()
        if not self._console:
            logging.getLogger(__name__).info("%s", self._opening(server))
        view = asyncio.create_task(self._console.show()) if self._console else None
        keys = self._policy.values.cluster.operators
        listener = Listener(self._directory, self._settings.cluster, keys, self._app.now, self._app.say)
        try:
            await listener.start()
            await self._app.run(stop, self._settings.for_s)
        finally:
            await listener.close()
            if server:
                server.close()
            if view:
                await cancel(view)

    def _listen(self) -> HttpServer | None:
        if not self._settings.listen or not self._metrics:
            return None
        host, port = parse_address(self._settings.listen)
        metrics = self._metrics
        explain = explainer(lambda: SqliteHistory(self._directory))
        shown = [each for each in (metrics, self._tickets) if each]
        pages = ExplainPages(lambda: (page(*shown), CONTENT_TYPE), self._app.problems, self._app.waiting, explain)
        try:
            server = HttpServer(host, port, pages)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageProblem(f"cannot listen on {self._settings.listen}: {why}", "name another port") from None
        server.start()
        return server

    def _opening(self, server: HttpServer | None) -> str:
        where = f"; http://{server.host}:{server.port}/metrics" if server else ""
        return f"{self._planned.what}; policy {self._policy.id}; observing only{where}"

    def _facts(self) -> Facts:
        problems = {**self._app.problems(), **self._app.waiting()}
        trouble = [f"{what}: {why}" for what, why in problems.items() if why != "has not answered yet"]
        return Facts(
            what=self._planned.what,
            policy=self._policy.id,
            running_s=time.monotonic() - self._started,
            event_ms=self._app.stages[0].stats.stream_ms,
            notes=trouble[:NOTES] or list(self._warnings)[-NOTES:],
        )

    def _stage_stats(self) -> Iterable[StageStats]:
        for each in self._app.stages:
            stats = each.stats
            yield StageStats(each.stage.name, stats.records, stats.outputs, stats.commits, stats.restores, each.lag)
