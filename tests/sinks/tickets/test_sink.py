"""The sink as a pipeline drives it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from schemas import topics
from schemas.log import Record
from sinks.families import page
from sinks.kit import Probe, check_sink
from sinks.tickets.dry_run import DryRun
from sinks.tickets.memory import Memory
from sinks.tickets.sink import TicketSink
from sinks.tickets.tracker import Later
from tests.sinks.tickets.world import ID, System, Topics


class CaughtUpAtOnce(TicketSink):
    """A log that was empty when it started: all that comes is news."""

    begun = False

    async def apply(self, topic, given, partition=0):
        if not self.begun:
            self.begun = True
            self.caught_up()
        await super().apply(topic, given, partition)


def fed(system, of, **more):
    async def feed():
        sink = CaughtUpAtOnce(system, Memory(None), per_s=1000.0, **more)
        for topic, record in of.log:
            await sink.apply(topic, [record])
        await sink.close()
        return sink

    return asyncio.run(feed())


def test_it_keeps_the_contract_of_a_sink():
    of = Topics()
    of.case(gpu=1)
    of.case(gpu=1, state="drained", after_s=30)
    of.case(gpu=2, incident="another")
    of.case(gpu=1, state="in-service", after_s=60)
    of.case(gpu=2, incident="another", action="remove-node", after_s=90)

    def make():
        system = System()
        return Probe(
            CaughtUpAtOnce(system, Memory(None), per_s=1000.0),
            lambda: [
                (ticket.id, ticket.action, ticket.is_open, is_open)
                for ticket, is_open in system.tickets.values()
                if is_open
            ],
        )

    check_sink(make, topics.EVICTIONS, [record for _, record in of.log])


def test_nothing_is_sent_before_all_that_is_there_has_been_read():
    async def feed():
        sink = TicketSink(system, Memory(None), per_s=1000.0)
        for topic, record in of.log:
            await sink.apply(topic, [record])
        await asyncio.sleep(0)
        assert system.calls == []
        sink.caught_up()
        await sink.close()

    of, system = Topics(), System()
    of.case()
    asyncio.run(feed())
    assert system.states() == {ID: [True]}


def test_records_that_it_cannot_read_are_counted_and_the_others_go_on():
    of, system = Topics(), System()
    of.add(topics.EVICTIONS, "GPU-9", b'{"ts": "tomorrow"}')
    of.case()
    sink = fed(system, of)
    assert sink.unreadable == {topics.EVICTIONS: 1}
    assert system.states() == {ID: [True]}


def test_its_metrics_tell_what_is_there_and_what_is_not():
    of, system = Topics(), System()
    of.case(gpu=1)
    of.case(gpu=2, incident="another")
    of.check(gpu=1)
    system.fails = [None, None, Later("away")]
    text = page(fed(system, of)).decode()
    assert 'gpu_vitals_tickets{state="open"} 1.0' in text
    assert 'gpu_vitals_tickets{state="unsent"} 1.0' in text
    assert 'gpu_vitals_ticket_failures_total{reason="outage"} 1.0' in text
    assert "gpu_vitals_tickets_outputs_to_check 1.0" in text
    assert "gpu_vitals_tickets_enabled 1.0" in text


def test_a_dry_run_says_what_it_would_do_and_that_it_is_one(caplog):
    of = Topics()
    of.case()
    with caplog.at_level(logging.INFO):
        text = page(fed(DryRun("https://tickets"), of, enabled=False)).decode()
    assert [record.getMessage() for record in caplog.records] == [
        "https://tickets: would create priority 3 ticket: b1 0000:01:00: Xid 48: double-bit ECC error"
    ]
    assert "gpu_vitals_tickets_enabled 0.0" in text


def test_a_bug_ends_the_sink_instead_of_leaving_it_deaf():
    class Broken(System):
        async def find(self, ticket):
            raise AssertionError("a bug")

    async def feed():
        sink = TicketSink(Broken(), Memory(None), per_s=1000.0)
        for topic, record in of.log:
            await sink.apply(topic, [record])
        sink.caught_up()
        for _ in range(10):
            await asyncio.sleep(0)
        with pytest.raises(AssertionError, match="a bug"):
            await sink.apply(topics.EVICTIONS, [Record(99, 0, "GPU-1", "kind", b"")])
        with pytest.raises(AssertionError, match="a bug"):
            await sink.close()

    of = Topics()
    of.case()
    asyncio.run(feed())
