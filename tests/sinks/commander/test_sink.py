"""The sink before an outbox that can be away: what is sent, when, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from types import SimpleNamespace

import pytest

from sinks import pace
from sinks.commander import sink as sink_module
from sinks.commander.sink import CommanderSink
from sinks.families import page
from sinks.kit import Probe, check_sink
from sinks.sink import SinkError
from tests.sinks.commander.cases import LIFE_MS, NOW, TOPIC, eviction, order, record


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(sink_module, "BACKOFF_S", (0.001, 0.002))


class Box:
    """An outbox in memory. away: why it takes nothing. while_away: called at each try meanwhile."""

    def __init__(self):
        self.sent = []
        self.away = ""
        self.tries = 0
        self.closed = False
        self.before = None

    async def current(self):
        if self.before:
            await self.before()

    async def send(self, command):
        self.tries += 1
        if self.away:
            raise SinkError(self.away)
        self.sent.append(command.id)

    async def close(self):
        self.closed = True


@contextlib.asynccontextmanager
async def running(box, *records, now_ms=NOW):
    """A sink that has been given `records`, and that there were no others."""
    made = CommanderSink(box, per_s=1000.0, now_ms=lambda: now_ms)
    await made.apply(TOPIC, records)
    made.caught_up()
    try:
        yield made
    finally:
        await made.close()


async def until(true):
    async with asyncio.timeout(60.0):
        while not true():
            await asyncio.sleep(0.001)


def test_it_keeps_the_contract_of_sinks():
    def probe():
        made = CommanderSink(Box())
        return Probe(made, lambda: (made._orders.waiting(), getattr(made._orders.next(NOW), "id", "")))

    story = [eviction(order=order("o1")), eviction(2, order=order("o2", at=NOW + 1)), eviction(ts=NOW + 2, cancel="o1")]
    check_sink(probe, TOPIC, [record(at, made) for at, made in enumerate(story)])


def test_nothing_is_sent_before_all_that_there_is_has_been_read():
    async def run():
        box = Box()
        made = CommanderSink(box, now_ms=lambda: NOW)
        await made.apply(TOPIC, [record(0, eviction(order=order()))])
        await asyncio.sleep(0.02)
        before = list(box.sent)
        await made.apply(TOPIC, [record(1, eviction(ts=NOW + 1))])
        made.caught_up()
        await made.apply(TOPIC, [record(2, eviction(2, order=order("o2")))])
        await until(lambda: box.sent)
        await made.close()
        return before, box

    before, box = asyncio.run(run())
    assert (before, box.sent, box.closed) == ([], ["o2"], True)


def test_a_new_start_sends_again_what_still_stands_under_the_same_id():
    async def run():
        box = Box()
        for started in range(2):
            async with running(box, record(0, eviction(order=order()))):
                await until(lambda started=started: len(box.sent) > started)
        return box.sent

    assert asyncio.run(run()) == ["o1", "o1"]


def test_an_outage_is_waited_for_costs_one_line_and_shows(caplog):
    async def run():
        box = Box()
        box.away = "Kafka is away"
        async with running(box, record(0, eviction(order=order()))) as made:
            await until(lambda: box.tries > 5)
            shown = made.outage
            waits = page(made).decode()
            box.away = ""
            await until(lambda: box.sent)
            await until(lambda: not made.outage)
        return box, shown, waits

    with caplog.at_level(logging.WARNING):
        box, shown, waits = asyncio.run(run())
    assert (box.sent, shown) == (["o1"], "Kafka is away")
    assert "gpu_vitals_commander_waiting 1.0" in waits
    assert caplog.messages == ["commander waits: Kafka is away", "commander goes on"]


def test_what_was_taken_back_during_an_outage_is_not_sent_after_it():
    """The log is read to its end before anything is sent, and what comes then counts."""

    async def run():
        box = Box()
        box.away = "Kafka is away"
        async with running(box, record(0, eviction(order=order()))) as made:
            await until(lambda: box.tries > 1)

            async def read():
                box.before = None
                await made.apply(TOPIC, [record(1, eviction(ts=NOW + 1, cancel="o1"))])

            box.before, box.away = read, ""
            await until(lambda: box.sent)
            await until(lambda: not made._orders.waiting())
        return box.sent

    assert asyncio.run(run()) == ["o1.cancel"]


def test_what_expires_during_an_outage_is_not_sent_after_it():
    async def run():
        box, now_ms = Box(), NOW
        box.away = "Kafka is away"
        made = CommanderSink(box, per_s=1000.0, now_ms=lambda: now_ms)
        await made.apply(TOPIC, [record(0, eviction(order=order()))])
        made.caught_up()
        await until(lambda: box.tries > 1)
        box.away, now_ms = "", NOW + LIFE_MS
        await until(lambda: not made._orders.waiting())
        await made.close()
        return box.sent, page(made).decode()

    sent, shown = asyncio.run(run())
    assert sent == []
    assert 'gpu_vitals_commander_skipped_total{reason="expired"} 1.0' in shown
    assert "gpu_vitals_commander_enabled 1.0" in shown


def test_a_dry_run_says_what_it_would_send_and_counts_it(caplog):
    async def run():
        async with running(None, record(0, eviction(order=order())), record(1, eviction(2, cancel="o2"))) as made:
            await until(lambda: not made._orders.waiting())
            return page(made).decode()

    with caplog.at_level(logging.INFO):
        shown = asyncio.run(run())
    assert sorted(caplog.messages) == [
        "cancel of o2 to n1 as o2.cancel (case inc-1): dry run: it would have been sent",
        "reset of GPU-1 to n1 as o1 (case inc-1): dry run: it would have been sent",
    ]
    assert 'gpu_vitals_commander_commands_total{action="reset"} 1.0' in shown
    assert "gpu_vitals_commander_enabled 0.0" in shown


def test_no_more_are_sent_than_allowed(monkeypatch):
    """By a clock that stands still but while somebody waits."""
    now, waits = [0.0], []

    async def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    async def run():
        box = Box()
        made = CommanderSink(box, per_s=4.0, now_ms=lambda: NOW)
        await made.apply(TOPIC, [record(at, eviction(at, order=order(f"o{at}", at=NOW + at))) for at in range(1, 5)])
        made.caught_up()
        await until(lambda: len(box.sent) == 4)
        await made.close()

    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(pace, "asyncio", SimpleNamespace(sleep=sleep))
    asyncio.run(run())
    assert waits == [0.0, 0.25, 0.25, 0.25]


def test_what_is_replaced_while_it_is_on_its_way_counts_as_sent_and_not_as_skipped():
    async def run():
        box = Box()
        async with running(box, record(0, eviction(order=order()))) as made:
            put = box.send

            async def slow(command):
                await made.apply(TOPIC, [record(1, eviction(ts=NOW + 1))])
                await put(command)

            box.send = slow
            await until(lambda: made.sent)
            return page(made).decode()

    shown = asyncio.run(run())
    assert 'gpu_vitals_commander_commands_total{action="reset"} 1.0' in shown
    assert 'gpu_vitals_commander_skipped_total{reason="replaced"} 0.0' in shown


def test_a_bug_ends_it_instead_of_being_passed_over():
    async def run():
        box = Box()

        async def broken():
            raise RuntimeError("oops")

        box.before = broken
        made = CommanderSink(box, now_ms=lambda: NOW)
        await made.apply(TOPIC, [record(0, eviction(order=order()))])
        made.caught_up()
        await until(lambda: made._work.done())
        with pytest.raises(RuntimeError, match="oops"):
            await made.apply(TOPIC, [record(1, eviction(2))])

    asyncio.run(run())
