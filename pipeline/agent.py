"""The agent of a node: what its sources see goes to the spool, and from there to Kafka. It judges nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pipeline.clock import wall_ms
from pipeline.errors import UsageProblem
from pipeline.intake import Intake
from pipeline.kafka.ingress import KafkaIngress
from pipeline.log import Entry
from pipeline.node_commands.mode import mode
from pipeline.node_commands.reception import Reception, pausable
from pipeline.plan import Plan
from pipeline.settings import Settings, parse_address
from pipeline.spool import place
from pipeline.spool.lane import FAULTS
from pipeline.spool.shipper import Shipper
from pipeline.spool.spool import Spool
from pipeline.spool.store import OWN, Store
from pipeline.watchdog import Watchdog
from producers.host import hostname
from producers.source import Observed, Source
from producers.supervisor import supervise
from schemas import records, topics
from schemas.counts import counted
from schemas.sources import AGENT
from sinks.http import HttpServer, Pages

STOP_S = 3.0
LEAVE_S = 1.0  # for sources to end; one that hangs does not
LOSSES_S = 10.0  # between two words on what the spool has lost
ROOM_S = 0.1
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RETRY_BACKOFF_MS = 500  # of a client whose broker is away: there may be thousands of them

logger = logging.getLogger(__name__)


class Agent:
    """planned: the sources, not opened. Runs until they end or a signal comes."""

    def __init__(self, settings: Settings, planned: Plan) -> None:
        self._settings = settings
        self._sources = [pausable(source) for source in planned.sources]
        self._node = settings.node or hostname()
        self._watchdog = Watchdog()

    async def run(self) -> None:
        """Raises UsageProblem: it cannot listen where it should, the spool is another's, credentials or keys are
        missing.
        """
        self._settings.kafka.client()
        mode(self._settings.commands)
        stop = asyncio.Event()
        for each in ENDING:
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
        self._spool = Spool(self._store())
        log = KafkaIngress(self._settings.kafka, linger_ms=0, retry_backoff_ms=RETRY_BACKOFF_MS)
        self._shipper = Shipper(self._spool, log)
        self._intake = Intake(self._spool, None, own_clock=False)
        self._reception = Reception(self._settings, self._node, self._spool, self._answer, self._sources)
        logger.info("commands: %s", self._reception.words)
        server = None
        try:
            server = self._listen()
            await self._work(stop)
        finally:
            await self._reception.desk.close()
            await self._spool.close()
            await log.close()
            if server:
                server.close()

    async def _work(self, stop: asyncio.Event) -> None:
        runs = [asyncio.create_task(self._run(source), name=source.name) for source in self._sources]
        work = (self._shipper.run(), self._tell_losses(), self._reception.run(), self._watchdog.run())
        helpers = [asyncio.create_task(each) for each in work]
        stopped = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(self._ended(runs))
        self._watchdog.ready(f"{counted(len(runs), 'source')}, spool {self._spool.store.where}")
        try:
            await _first_failure_or(stopped, [ended, *helpers])
        finally:
            self._watchdog.stopping()
            for task in (stopped, ended, *runs):
                task.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    if stop.is_set():
                        await self._take_leave(runs)
                    if stop.is_set() or self._spool.store.trouble:  # what is in memory has no other chance
                        await self._shipper.drained()
            for task in helpers:
                task.cancel()
            await asyncio.wait([ended, *runs, *helpers], timeout=STOP_S)

    def _store(self) -> Store:
        settings = self._settings.agent
        directory = place.directory(settings.spool_dir)
        return Store(directory, settings.spool_bytes, boot=place.boot_id(), now_ms=wall_ms())

    async def _run(self, source: Source) -> None:
        await supervise(
            source,
            self._append,
            position=await self._spool.position(source.name),
            numbering=self._spool.numbering,
            node=self._node,
            cluster=self._settings.cluster,
        )

    async def _append(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        """Waits, behind what it has appended, while the spool is half full with what the outside would keep as well.

        That is history with times of its own, and, where faults alone fill that half, what can be read again.
        """
        with self._watchdog.step("the spool has not taken what was seen"):
            await self._intake.append(entries, source=source, position=position)
        history = any(entry.ts is not None for entry in entries)
        half = self._settings.agent.spool_bytes // 2
        store = self._spool.store
        while (history and store.size > half) or (position is not None and store.lane(FAULTS).waiting_bytes > half):
            await asyncio.sleep(ROOM_S)

    async def _answer(self, entries: Sequence[Observed], *, source: str, position: str | None) -> None:
        """What is said by none of the sources is numbered like all else, and never waits for room."""
        stamped = [self._spool.numbering.stamp(entry) for entry in entries]
        with self._watchdog.step("the spool has not taken what was answered"):
            await self._intake.append(stamped, source=source, position=position)

    async def _take_leave(self, runs: Sequence[asyncio.Task[None]]) -> None:
        """Say, as the last thing, that the silence which follows is no fault: somebody has asked for it."""
        await asyncio.wait(runs, timeout=LEAVE_S)
        status = records.SourceStatus(
            ts=wall_ms(),
            cluster=self._settings.cluster,
            node=self._node,
            source=AGENT,
            state="ended",
            detail="asked to stop",
        )
        await self._answer([Observed(self._node, "source", records.encode(status))], source=AGENT, position=None)

    async def _ended(self, runs: Sequence[asyncio.Task[None]]) -> None:
        """Until all sources have ended, and Kafka has what they said."""
        await asyncio.gather(*runs)
        await self._shipper.drained()

    async def _tell_losses(self) -> None:
        while True:
            await tell_losses(self._spool, self._node, self._settings.cluster)
            await asyncio.sleep(LOSSES_S)

    def _listen(self) -> HttpServer | None:
        if not self._settings.listen:
            return None
        from pipeline.agent_metrics import AgentMetrics  # not before it is wanted: a node has better use for memory
        from sinks.families import CONTENT_TYPE, page

        host, port = parse_address(self._settings.listen)
        metrics = AgentMetrics(self._intake, self._spool, self._shipper, self._reception.desk)
        pages = Pages(lambda: (page(metrics), CONTENT_TYPE), self._problems, self._waiting, self._notes)
        try:
            server = HttpServer(host, port, pages)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise UsageProblem(f"cannot listen on {self._settings.listen}: {why}", "name another port") from None
        server.start()
        return server

    def _notes(self) -> dict[str, str]:
        return {"commands": self._reception.words}

    def _problems(self) -> dict[str, str]:
        found = {**self._spool.problems(), **self._reception.desk.problems()}
        return {**found, "kafka": self._shipper.outage} if self._shipper.outage else found

    def _waiting(self) -> dict[str, str]:
        found = {}
        for source in self._sources:
            status = self._intake.sources.get(source.name)
            if status is None:
                found[f"source {source.name}"] = "has not answered yet"
            elif status.state == "failing":
                found[f"source {source.name}"] = f"failing: {status.detail}"
        return found


async def tell_losses(spool: Spool, node: str, cluster: str) -> None:
    """Say, once and durably, how many observations the spool has lost since it last said so."""
    lost, untold = spool.store.lost, spool.store.untold
    if not untold:
        return
    dropped = counted(untold, "observation was", "observations were")
    status = records.SourceStatus(
        ts=wall_ms(),
        cluster=cluster,
        node=node,
        source=OWN,
        state="ok",
        detail=f"{dropped} dropped or damaged in the spool before they could be sent",
        lost=untold,
    )
    told = spool.numbering.stamp(Observed(node, "source", records.encode(status)))
    await spool.append(topics.OBSERVATIONS, [Entry(told.node, told.kind, told.value)], OWN, str(lost))


async def _first_failure_or(stopped: asyncio.Task[bool], runs: Sequence[asyncio.Task[None]]) -> None:
    """Until the first of `runs` has ended (raises what it raised), or `stopped`."""
    waiting: list[asyncio.Task[Any]] = [stopped, *runs]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for run in runs:
        if run.done():
            run.result()
