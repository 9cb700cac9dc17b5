"""Kafka's administrative interface, opened: what goes wrong there is one line that says how to mend it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    for_code,
)

from pipeline.errors import UsageProblem
from pipeline.kafka.settings import Kafka

LOGGER = logging.getLogger("aiokafka")
ANSWER_S = 5.0  # the longest that one of the named brokers may take to be there
NOT_ALLOWED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)


@asynccontextmanager
async def connected(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for as long as the block runs.

    Raises UsageProblem: none of the brokers answers, they do not let us in, or what is asked within the block
    fails there.
    """
    with _overheard() as complaints:
        client = await _open(kafka, complaints)
        try:
            yield client
        except NOT_ALLOWED as error:
            raise not_authorized(kafka, str(error.args[0]) if error.args else type(error).__name__) from None
        except KafkaError as error:
            raise UsageProblem(f"kafka: {error}", "the brokers' own logs say more") from None
        finally:
            await client.close()


def demand(code: int, what: str) -> None:
    """Raises the KafkaError that `code` in a response stands for, unless it is none; `what` was asked for."""
    if code:
        raise for_code(code)(what)


def not_authorized(kafka: Kafka, what: str) -> UsageProblem:
    who = f"User:{kafka.user}" if kafka.user else "this client"
    return UsageProblem(
        f"kafka: {who} is not authorized: {what}",
        "topics are made and looked after by an administrator; `gpu-vitals topics acls` prints what the others need",
    )


async def _open(kafka: Kafka, complaints: list[str]) -> AIOKafkaAdminClient:
    """Broker by broker, so that one which is gone costs seconds and not the answer."""
    options = kafka.client()
    for broker in kafka.bootstrap.split(","):
        client = AIOKafkaAdminClient(**options | {"bootstrap_servers": broker.strip()})
        try:
            async with asyncio.timeout(ANSWER_S):
                await client.start()
            return client
        except TimeoutError:
            complaints.append(f"silent for {ANSWER_S:g} s")
        except KafkaError as error:
            complaints.append(str(error))
        await client.close()
    why = complaints[0].removeprefix("Unable connect to ")
    raise UsageProblem(
        f"kafka: no broker answers: {why}",
        "name one that runs with --bootstrap; tls, sasl, user and password_file must be as its listener has them",
    )


class _Overhearing:
    """The client tells its log, and nobody else, why it cannot connect.

    While anybody listens the log hears it of us alone; who comes second, or leaves late, changes nothing for others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[list[str]] = []
        self._handler = logging.Handler(logging.ERROR)
        self._handler.emit = self._emit  # type: ignore[method-assign]
        self._before = (True, logging.NOTSET)

    @contextmanager
    def __call__(self) -> Iterator[list[str]]:
        heard: list[str] = []
        with self._lock:
            if not self._listeners:
                self._begin()
            self._listeners.append(heard)
        try:
            yield heard
        finally:
            with self._lock:
                self._listeners = [others for others in self._listeners if others is not heard]
                if not self._listeners:
                    self._end()

    def _begin(self) -> None:
        self._before = (LOGGER.propagate, LOGGER.level)
        LOGGER.propagate = False
        LOGGER.setLevel(logging.ERROR)
        LOGGER.addHandler(self._handler)

    def _end(self) -> None:
        LOGGER.removeHandler(self._handler)
        LOGGER.propagate, level = self._before
        LOGGER.setLevel(level)

    def _emit(self, record: logging.LogRecord) -> None:
        for heard in self._listeners:
            heard.append(record.getMessage())


_overheard = _Overhearing()
