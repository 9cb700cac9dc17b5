"""Commands to a node on a real Kafka: its agent takes its own, refuses what it does not know, and says so."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from pipeline import command_inbox
from pipeline.command_inbox import CommandInbox
from pipeline.kafka import wire
from pipeline.kafka.admin import connected
from pipeline.kafka.settings import Kafka
from schemas import records, topics

TS = 1_767_225_600_000


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(command_inbox, "AGAIN_S", 0.05)
    monkeypatch.setattr(command_inbox, "POLL_MS", 100)
    monkeypatch.setattr(command_inbox, "ANSWER_S", 2.0)


class Told:
    """What an inbox reports."""

    def __init__(self):
        self.results = []

    async def append(self, entries, *, source, position):
        assert (source, position) == ("commands", None)
        for entry in entries:
            assert (entry.node, entry.kind) == ("n1", "command-result")
            self.results.append(msgspec.json.decode(entry.value, type=records.CommandResult))

    async def until(self, enough):
        async with asyncio.timeout(30.0):
            while len(self.results) < enough:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def inbox(kafka):
    """Running, and past its start."""
    made, told = CommandInbox(kafka, "n1"), Told()
    running = asyncio.create_task(made.run(told.append))
    try:
        async with asyncio.timeout(30.0):
            while made._next is None:
                await asyncio.sleep(0.01)
        yield told
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def command(id_, node="n1", **more):
    return records.encode(records.Command(ts=TS, node=node, id=id_, action="reset", **more))


async def tell(kafka, *values, key="n1"):
    producer = AIOKafkaProducer(**kafka.client())
    await producer.start()
    try:
        for value in values:
            topic = kafka.topic(topics.COMMANDS)
            await producer.send_and_wait(topic, value, key.encode(), headers=wire.headers("command"))
    finally:
        await producer.stop()


def test_a_command_that_it_does_not_know_is_refused_and_that_is_reported(kafka: Kafka):
    async def run():
        async with inbox(kafka) as told:
            await tell(kafka, command("c1"))
            await told.until(1)
            return told.results

    (result,) = asyncio.run(run())
    assert (result.id, result.action, result.state) == ("c1", "reset", "refused")
    assert result.detail == "this agent knows no command 'reset'"


def test_what_was_there_before_it_came_is_left_alone_and_so_is_what_others_shall_do(kafka: Kafka):
    async def run():
        await tell(kafka, command("old"))
        async with inbox(kafka) as told:
            await tell(kafka, command("for another", node="n2"), key="n2")
            await tell(kafka, command("new"))
            await told.until(1)
            return told.results

    assert [result.id for result in asyncio.run(run())] == ["new"]


def test_what_is_no_command_is_refused_too_and_hides_nothing(kafka: Kafka):
    async def run():
        async with inbox(kafka) as told:
            await tell(kafka, b"{", command("forged", node="n2"), command("newer", v=2), command("good"))
            await told.until(4)
            return told.results

    found = asyncio.run(run())
    assert [result.id for result in found] == ["", "forged", "", "good"]
    assert "commands/0/0 is no command" in found[0].detail
    assert "is for node 'n2'" in found[1].detail
    assert "schema version 2, expected 1" in found[2].detail


def test_two_agents_of_a_node_one_after_another_answer_once(kafka: Kafka):
    async def run():
        async with inbox(kafka) as first:
            await tell(kafka, command("c1"))
            await first.until(1)
        async with inbox(kafka) as second:
            await tell(kafka, command("c2"))
            await second.until(1)
        return [result.id for result in (*first.results, *second.results)]

    assert asyncio.run(run()) == ["c1", "c2"]


def test_a_cluster_without_the_topic_costs_one_line_and_nothing_else(unmade: Kafka, caplog):
    async def run():
        made = CommandInbox(unmade, "n1")
        running = asyncio.create_task(made.run(Told().append))
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
            return [result.id for result in told.results]

    assert asyncio.run(run()) == ["before", "after"]
