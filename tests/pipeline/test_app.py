from __future__ import annotations

import asyncio

import pytest

from pipeline.app import App
from pipeline.log import Unavailable
from pipeline.policies import load_policy
from pipeline.sqlite_log import SqliteLog
from producers.simulator import Simulator
from producers.source import Ended, Observed, Source, SourceError
from schemas import topics
from sinks.sink import Sink

T0 = 1_767_225_600_000


class Said(Source):
    """Says what it is given, then ends, fails or goes on in silence."""

    name = "said"
    owns_clock = True

    def __init__(self, *observed, then=Ended):
        self.left = list(observed)
        self.then = then

    async def open(self, after):
        pass

    async def read(self):
        if self.left:
            return [self.left.pop(0)]
        if self.then:
            raise self.then("no permission")
        return []

    async def close(self):
        pass


class Takes(Sink):
    name = "takes"
    topics = (topics.DECISIONS, topics.DEAD_LETTER)
    rebuilds = True

    def __init__(self):
        self.taken = []
        self.closed = 0

    async def apply(self, topic, records, partition=0):
        self.taken += [(topic, record.key) for record in records]

    async def close(self):
        self.closed += 1


class Breaks(Takes):
    async def apply(self, topic, records, partition=0):
        raise BrokenPipeError


def bad(at=0):
    """An observation that ends as a dead letter."""
    return Observed("n1", "nonsense", b"{", T0 + at)


def run(directory, source, sink, *, look=None, for_s=None, stop_at_once=False):
    """Run an app over `source`; `look(app)` is called until it is satisfied, and then the app stopped."""

    async def body():
        log = SqliteLog(directory)
        try:
            app = App(log, [source], load_policy("default"), [sink])
            stop = asyncio.Event()
            if stop_at_once:
                stop.set()
            running = asyncio.create_task(app.run(stop, for_s))
            async with asyncio.timeout(60):
                while look and not look(app) and not running.done():
                    await asyncio.sleep(0.01)
                if look:
                    stop.set()
                await running
            return app
        finally:
            await log.close()

    return asyncio.run(body())


def test_it_ends_by_itself_when_all_has_been_said_and_handed_on(tmp_path):
    sink = Takes()
    app = run(tmp_path, Said(bad(), bad(1)), sink)
    assert [topic for topic, _ in sink.taken] == [topics.DEAD_LETTER] * 2
    assert sink.closed == 1
    assert app.problems() == {}
    assert app.intake.sources["said"].state == "ended"


def test_a_fleet_is_judged_from_source_to_sink(tmp_path):
    sink = Takes()
    run(tmp_path, Simulator(8, speed=0.0, for_s=60), sink)
    assert len({key for topic, key in sink.taken if topic == topics.DECISIONS}) == 8


def test_told_to_stop_it_hands_on_what_it_has(tmp_path):
    sink = Takes()
    run(tmp_path, Said(bad(), then=None), sink, look=lambda app: app.stages[0].stats.records)
    assert [topic for topic, _ in sink.taken] == [topics.DEAD_LETTER]


def test_stopped_before_it_began_it_ends(tmp_path):
    run(tmp_path, Said(then=None), Takes(), stop_at_once=True)


def test_it_ends_after_the_time_it_was_given(tmp_path):
    run(tmp_path, Said(then=None), Takes(), for_s=0.05)


def test_what_ends_a_sink_ends_the_run(tmp_path):
    sink = Breaks()
    with pytest.raises(BrokenPipeError):
        run(tmp_path, Said(bad(), then=None), sink)
    assert sink.closed == 1


def test_a_source_that_fails_is_waited_for_by_name(tmp_path):
    seen = {}

    def look(app):
        seen.update(app.waiting())
        return "failing" in seen.get("source said", "")

    run(tmp_path, Said(bad(), then=SourceError), Takes(), look=look)
    assert seen["source said"] == "failing: no permission"


def test_before_anything_has_answered_it_waits_for_everything(tmp_path):
    log = SqliteLog(tmp_path)
    app = App(log, [Said()], load_policy("default"), [Takes()])
    assert app.waiting() == {
        "source said": "has not answered yet",
        "stage node": "has not started yet",
        "stage cluster": "has not started yet",
    }
    asyncio.run(log.close())


def test_a_log_that_cannot_be_written_is_a_problem_and_passes(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.intake.BACKOFF_S", (0.2, 0.2))
    real, failures, seen = SqliteLog.append, iter([None] * 2), {}

    async def append(self, topic, entries, source="", position=None):
        if source == "said" and next(failures, "none left") is None:
            raise Unavailable("disk full")
        await real(self, topic, entries, source, position)

    monkeypatch.setattr(SqliteLog, "append", append)
    sink = Takes()

    def look(app):
        seen.update(app.problems())
        return sink.taken

    run(tmp_path, Said(bad(), then=None), sink, look=look)
    assert seen == {"log": "disk full"}
    assert sink.taken


def test_live_time_goes_on_while_nothing_is_said(tmp_path):
    source = Said(then=None)
    source.owns_clock = False
    run(tmp_path, source, Takes(), look=lambda app: app.stages[0].stats.records > 2)

    async def kinds():
        log = SqliteLog(tmp_path)
        try:
            return [record.kind for record in log.tail(topics.OBSERVATIONS, -1)]
        finally:
            await log.close()

    assert asyncio.run(kinds())[-1] == "tick"


def test_the_policy_in_force_stands_first(tmp_path):
    run(tmp_path, Said(bad()), Takes())

    async def first():
        log = SqliteLog(tmp_path)
        try:
            return log.tail(topics.OBSERVATIONS, -1)[0]
        finally:
            await log.close()

    record = asyncio.run(first())
    assert (record.kind, record.ts) == ("policy", T0)
