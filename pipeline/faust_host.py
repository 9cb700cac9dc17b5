"""What Faust does for a worker: lifecycle, supervision, and agents of others on our topics. Our data it does not hold.

The stages run in `DataPlane`, a service that starts before Faust joins any group and stops before all else: Faust's
own way of reading loses or doubles records in a crash, and is some hundred times slower.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as driver
from mode import Service
from mode.types import ServiceT

from pipeline.errors import UsageProblem
from pipeline.kafka.settings import Kafka
from pipeline.settings import parse_address
from pipeline.topology import Stage
from pipeline.worker import Worker
from pipeline.worker_metrics import WorkerMetrics
from sinks.families import CONTENT_TYPE
from sinks.http import HttpServer, Pages

AGAIN_S = 0.5
GARBAGE = 50_000, 20, 100  # records pass by the thousand and make no cycles: to look at each costs a tenth of all


class DataPlane(Service):
    """Runs a worker, and shows how it does on `listen` ([HOST:]PORT; None: nowhere)."""

    logger = logging.getLogger("mode")

    def __init__(
        self, kafka: Kafka, instance: str | None, stages: Sequence[Stage], listen: str | None, **more: Any
    ) -> None:
        super().__init__(**more)
        self._kafka = kafka
        self._instance = instance
        self._stages = stages
        self._listen = listen
        self._run: asyncio.Task[None] | None = None
        self._server: HttpServer | None = None

    async def on_start(self) -> None:
        await self._reachable()
        gc.set_threshold(*GARBAGE)
        gc.freeze()
        self._stop = asyncio.Event()
        metrics = WorkerMetrics()
        worker = metrics.worker = Worker(self._kafka, self._instance, self._stages, metrics.watch)
        if self._listen:
            host, port = parse_address(self._listen)
            pages = Pages(lambda: (metrics.page(), CONTENT_TYPE), worker.problems, worker.waiting)
            try:
                self._server = HttpServer(host, port, pages)
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                raise UsageProblem(f"cannot listen on {self._listen}: {why}", "name another port") from None
            self._server.start()
        self._run = asyncio.create_task(worker.run(self._stop), name="worker")
        self.add_future(self._watched(self._run))

    async def on_stop(self) -> None:
        if self._run:
            self._stop.set()
            await asyncio.gather(self._run, return_exceptions=True)
        if self._server:
            self._server.close()

    async def _reachable(self) -> None:
        """Faust does not start without a broker; what comes later is waited out by those who need it."""
        waits = False
        while True:
            client = AIOKafkaClient(**self._kafka.client())
            try:
                await client.bootstrap()
            except KafkaConnectionError as error:
                if not waits:
                    self.log.warning("waits for Kafka: %s", error)
                waits = True
                await asyncio.sleep(AGAIN_S)
            else:
                return
            finally:
                await client.close()

    async def _watched(self, run: asyncio.Task[None]) -> None:
        """What ends the worker ends the process: whoever started it starts it again."""
        try:
            await asyncio.shield(run)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self.crash(error)


class _Boot(BootStrategy):
    def server(self) -> Iterable[ServiceT]:
        assert isinstance(self.app, App)
        return [self.app.data_plane, *super().server()]


class App(faust.App):
    """A Faust application with a data plane, on the transport that reads what is committed, and no more."""

    logger = logging.getLogger("mode")
    data_plane: DataPlane
    BootStrategy = _Boot

    def _create_directories(self) -> None:
        """Only for tables, which are an agent's own business."""
        if self.tables.data:
            super()._create_directories()

    def _new_transport(self) -> driver.Transport:
        return CommittedTransport(self.conf.broker_consumer, self)

    async def stop(self) -> None:
        await self.data_plane.stop()  # first: others wait for its partitions, nobody for Faust
        await super().stop()


class _CommittedThread(driver.AIOKafkaConsumerThread):
    logger = logging.getLogger("mode")

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # Faust has it only with its own transactions, which break
        return consumer


class _CommittedConsumer(driver.Consumer):
    logger = logging.getLogger("mode")

    def _new_consumer_thread(self) -> _CommittedThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


class CommittedTransport(driver.Transport):
    """Faust's Kafka transport; what a transaction has not committed does not reach an agent."""

    Consumer = _CommittedConsumer
