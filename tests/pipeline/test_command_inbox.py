"""Commands to a node on a real Kafka: its agent takes its own, each once, across outages and starts."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiokafka import AIOKafkaProducer

from pipeline import command_inbox
from pipeline.clock import wall_ms
from pipeline.command_inbox import CommandInbox
from pipeline.kafka import wire
from pipeline.kafka.admin import connected
from pipeline.kafka.settings import Kafka
from schemas import fencing, records, topics

TS = 1_767_225_600_000


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(command_inbox, "AGAIN_S", 0.05)
    monkeypatch.setattr(command_inbox, "POLL_MS", 100)


class Told:
    """A desk that writes down what reaches it, and a memory of how far was read."""

    def __init__(self):
        self.heard = []
        self.refused = []
        self.position = None

    async def hear(self, command, offset):
        self.heard.append((command.id, offset))

    async def refuse(self, command, refusal):
        self.refused.append(refusal)

    async def passed(self, position):
        self.position = position

    @property
    def ids(self):
        return [id_ for id_, _ in self.heard]

    async def until(self, enough):
        async with asyncio.timeout(60.0):
            while len(self.heard) + len(self.refused) < enough:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def inbox(kafka, told=None):
    """Running, and past its start."""
    told = told or Told()
    made = CommandInbox(kafka, "n1", told.position, told.passed)
    running = asyncio.create_task(made.run(told))
    try:
        async with asyncio.timeout(60.0):
            while made._next is None:
                await asyncio.sleep(0.01)
        yield told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def command(id_, node="n1", **more):
    return records.encode(records.Command(ts=TS, node=node, id=id_, action="reset", **more))


async def tell(kafka, *values, key="n1", timestamp_ms=None):
    producer = AIOKafkaProducer(**kafka.client())
    await producer.start()
    try:
        for value in values:
            topic = kafka.topic(topics.COMMANDS)
            headers = wire.headers("command")
            await producer.send_and_wait(topic, value, key.encode(), timestamp_ms=timestamp_ms, headers=headers)
    finally:
        await producer.stop()


def test_what_was_there_before_the_first_agent_is_left_alone_and_so_is_what_others_shall_do(kafka: Kafka):
    async def run():
        await tell(kafka, command("old"))
        async with inbox(kafka) as told:
            await tell(kafka, command("for another", node="n2"), key="n2")
            await tell(kafka, command("new"))
            await told.until(1)
            return told.heard

    assert asyncio.run(run()) == [("new", 2)]


def test_a_first_agent_that_ends_before_its_first_command_is_none_afterwards(kafka: Kafka):
    async def run():
        await tell(kafka, command("old"))
        async with inbox(kafka) as told:
            pass
        await tell(kafka, command("while it was away"))
        async with inbox(kafka, told):
            await told.until(1)
        return told.heard

    assert asyncio.run(run()) == [("while it was away", 1)]


def test_what_is_no_command_is_refused_and_hides_nothing(kafka: Kafka):
    async def run():
        async with inbox(kafka) as told:
            await tell(kafka, b"{", command("newer", v=2), command("good"))
            await told.until(3)
            return told

    told = asyncio.run(run())
    assert told.ids == ["good"]
    assert [refusal.reason for refusal in told.refused] == ["malformed", "malformed"]
    assert "commands/0/0 is no command" in told.refused[0].text
    assert "schema version 2, expected 1" in told.refused[1].text


def test_what_came_while_no_agent_was_there_reaches_the_next_one_once(kafka: Kafka):
    async def run():
        told = Told()
        async with inbox(kafka, told):
            await tell(kafka, command("c1"))
            await told.until(1)
        await tell(kafka, command("c2"))
        async with inbox(kafka, told):
            await tell(kafka, command("c3"))
            await told.until(3)
        return told

    told = asyncio.run(run())
    assert told.heard == [("c1", 0), ("c2", 1), ("c3", 2)]
    assert told.position == "3"


def test_what_is_older_than_any_command_lives_is_passed_over(kafka: Kafka):
    async def run():
        told = Told()
        told.position = "0"
        past_ms = wall_ms() - 2 * fencing.LIFE_MS_MAX
        await tell(kafka, command("long ago"), timestamp_ms=past_ms)
        await tell(kafka, command("lately"))
        async with inbox(kafka, told):
            await told.until(1)
        return told.heard

    assert asyncio.run(run()) == [("lately", 1)]


def test_a_cluster_without_the_topic_costs_one_line_and_nothing_else(unmade: Kafka, caplog):
    async def run():
        told = Told()
        made = CommandInbox(unmade, "n1", None, told.passed)
        running = asyncio.create_task(made.run(told))
        async with asyncio.timeout(60.0):
            while not made.outage:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    (line,) = [message for message in caplog.messages if message.startswith("commands cannot be read")]
    assert "topics create" in line


def test_commands_that_come_during_an_outage_are_answered_after_it(own_broker):
    kafka = Kafka(bootstrap=own_broker.bootstrap)

    async def run():
        from pipeline.kafka.topics import create

        await create(kafka)
        async with inbox(kafka) as told:
            await tell(kafka, command("before"))
            await told.until(1)
            await asyncio.to_thread(own_broker.kill)
            await asyncio.to_thread(own_broker.start)
            async with connected(kafka):
                await tell(kafka, command("after"))
            await told.until(2)
            return told.ids

    assert asyncio.run(run()) == ["before", "after"]
