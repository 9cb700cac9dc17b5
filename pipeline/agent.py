"""The agent of a node: what its sources see goes to Kafka. It judges nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.intake import Intake
from pipeline.kafka.ingress import KafkaIngress
from pipeline.log import Unavailable
from pipeline.plan import Plan
from pipeline.settings import Settings, parse_address
from producers.host import hostname
from producers.numbering import Numbering
from producers.source import Observed, Source
from producers.supervisor import supervise
from sinks.families import CONTENT_TYPE, counter, gauge, page
from sinks.http import HttpServer, Pages

AGAIN_S = 1.0
STOP_S = 3.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

logger = logging.getLogger(__name__)


class Agent(Collector):
    """planned: the sources, not opened. Runs until they end or a signal comes."""

    def __init__(self, settings: Settings, planned: Plan) -> None:
        self._settings = settings
        self._sources = planned.sources
        self._node = settings.node or hostname()
        self._log = KafkaIngress(settings.kafka, self._node)
        self._intake = Intake(self._log, None, own_clock=False)
        self._appended = 0

    async def run(self) -> None:
        """Raises UsageProblem: it cannot listen where it should."""
        stop = asyncio.Event()
        for each in ENDING:
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
        server = self._listen()
        numbering = Numbering(wall_ms())
        runs = [asyncio.create_task(self._run(source, numbering), name=source.name) for source in self._sources]
        stopped = asyncio.create_task(stop.wait())
        try:
            await _first_failure_or(stopped, runs)
        finally:
            for task in (stopped, *runs):
                task.cancel()
            await asyncio.wait(runs, timeout=STOP_S)
            await self._log.close()
            if server:
                server.close()

    def collect(self) -> Iterator[Metric]:
        sources = self._intake.sources.values()
        yield gauge(
            "gpu_vitals_source_up",
            "1 while a source can be read.",
            ("source", "hostname"),
            [((each.source, each.node), float(each.state == "ok")) for each in sources],
        )
        yield counter(
            "gpu_vitals_agent_observations", "Observations that Kafka has acknowledged.", (), [((), self._appended)]
        )
        yield gauge(
            "gpu_vitals_log_unavailable",
            "1 while Kafka cannot be used.",
            ("process",),
            [(("agent",), float(bool(self._intake.outage)))],
        )

    async def _run(self, source: Source, numbering: Numbering) -> None:
        await supervise(
            source,
            self._append,
            position=await self._position(source),
            numbering=numbering,
            node=self._node,
            cluster=self._settings.cluster,
        )

    async def _append(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        await self._intake.append(entries, source=source, position=position)
        self._appended += len(entries)

    async def _position(self, source: Source) -> str | None:
        """A source that begins before Kafka has told where it was would say everything again."""
        while True:
            try:
                return await self._log.position(source.name)
            except Unavailable as outage:
                if not self._intake.outage:
                    logger.warning("source %s waits: %s", source.name, outage)
                self._intake.outage = str(outage)
                await asyncio.sleep(AGAIN_S)

    def _listen(self) -> HttpServer | None:
        if not self._settings.listen:
            return None
        host, port = parse_address(self._settings.listen)
        pages = Pages(lambda: (page(self), CONTENT_TYPE), self._problems, self._waiting)
        try:
            server = HttpServer(host, port, pages)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageProblem(f"cannot listen on {self._settings.listen}: {why}", "name another port") from None
        server.start()
        return server

    def _problems(self) -> dict[str, str]:
        return {"kafka": self._intake.outage} if self._intake.outage else {}

    def _waiting(self) -> dict[str, str]:
        found = {}
        for source in self._sources:
            status = self._intake.sources.get(source.name)
            if status is None:
                found[f"source {source.name}"] = "has not answered yet"
            elif status.state == "failing":
                found[f"source {source.name}"] = f"failing: {status.detail}"
        return found


async def _first_failure_or(stopped: asyncio.Task[bool], runs: Sequence[asyncio.Task[None]]) -> None:
    """Until all `runs` have ended, one has failed (raises what it raised), or `stopped`."""
    left: set[asyncio.Task[None]] = set(runs)
    while left and not stopped.done():
        waiting: list[asyncio.Task[Any]] = [stopped, *left]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for run in [run for run in left if run.done()]:
            left.remove(run)
            run.result()
