from __future__ import annotations

import asyncio
import logging

import pytest

from pipeline.follow import Follower
from pipeline.log import Entry
from pipeline.sqlite_log import SqliteLog
from schemas import topics
from sinks.sink import Sink, SinkError

BACKOFF_S = (0.001, 0.002)


class Remembers(Sink):
    """Fails as often as told, then takes what it is given."""

    name = "remembers"
    topics = (topics.SCORES, topics.XIDS)

    def __init__(self, failures=0):
        self.failures = failures
        self.tries = 0
        self.taken = []
        self.busy = False

    async def apply(self, topic, records, partition=0):
        assert not self.busy, "apply runs twice at once"
        self.busy = True
        await asyncio.sleep(0)
        self.busy = False
        self.tries += 1
        if self.tries <= self.failures:
            raise SinkError("nobody there")
        self.taken += [(topic, record.offset) for record in records]


class Rebuilds(Remembers):
    """`caught_up_at`: how much it had been given when it was told that this was all there was."""

    rebuilds = True
    caught_up_at = None

    def caught_up(self):
        assert self.caught_up_at is None, "told twice"
        self.caught_up_at = len(self.taken)


async def follow(directory, sink, batches=()):
    """Append `batches` of (topic, count) while `sink` follows, until it has all."""
    log = SqliteLog(directory)
    try:
        follower = Follower(sink, log, BACKOFF_S)
        running = asyncio.create_task(follower.run())
        for topic, count in batches:
            await log.append(topic, [Entry("k", "kind", b"x")] * count)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            while (follower.lag() or follower.outage) and not running.done():
                await asyncio.sleep(0.005)
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        await log.close()


def test_each_topic_comes_whole_and_in_order(tmp_path):
    sink = Remembers()
    asyncio.run(follow(tmp_path, sink, [(topics.SCORES, 2), (topics.XIDS, 1), (topics.SCORES, 600)]))
    assert [offset for topic, offset in sink.taken if topic == topics.SCORES] == list(range(602))
    assert [offset for topic, offset in sink.taken if topic == topics.XIDS] == [0]


def test_a_sink_goes_on_behind_what_it_has_applied(tmp_path):
    asyncio.run(follow(tmp_path, Remembers(), [(topics.SCORES, 3)]))
    again = Remembers()
    asyncio.run(follow(tmp_path, again, [(topics.SCORES, 1)]))
    assert again.taken == [(topics.SCORES, 3)]


def test_a_view_starts_anew_from_the_oldest_record(tmp_path):
    asyncio.run(follow(tmp_path, Rebuilds(), [(topics.SCORES, 3)]))
    again = Rebuilds()
    asyncio.run(follow(tmp_path, again, [(topics.SCORES, 1)]))
    assert again.taken == [(topics.SCORES, offset) for offset in range(4)]


def test_a_view_is_told_once_when_it_has_been_given_all_there_was(tmp_path):
    asyncio.run(follow(tmp_path, Remembers(), [(topics.SCORES, 600), (topics.XIDS, 3)]))
    view = Rebuilds()
    asyncio.run(follow(tmp_path, view))
    assert view.caught_up_at == 603


def test_what_the_world_does_not_take_is_given_again_and_said_once(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    sink = Remembers(failures=4)
    asyncio.run(follow(tmp_path, sink, [(topics.SCORES, 2)]))
    assert sink.taken == [(topics.SCORES, 0), (topics.SCORES, 1)]
    assert caplog.messages == ["remembers waits: nobody there", "remembers goes on"]


def test_any_other_error_ends_it(tmp_path):
    class Broken(Remembers):
        async def apply(self, topic, records, partition=0):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        asyncio.run(follow(tmp_path, Broken(), [(topics.SCORES, 1)]))


def test_what_was_not_applied_is_not_passed_over(tmp_path):
    class Broken(Remembers):
        async def apply(self, topic, records, partition=0):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(follow(tmp_path, Broken(), [(topics.SCORES, 1)]))
    again = Remembers()
    asyncio.run(follow(tmp_path, again))
    assert again.taken == [(topics.SCORES, 0)]
