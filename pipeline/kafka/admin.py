"""Kafka's administrative interface, opened: what goes wrong there is one line that says how to mend it."""

from __future__ import annotations

import asyncio
import logging
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


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """The client tells its log, and nobody else, why it cannot connect."""
    heard: list[str] = []
    logger = logging.getLogger("aiokafka")
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    propagate, level = logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield heard
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
