from __future__ import annotations

import asyncio
import logging

import pytest

from pipeline import intake as intake_module
from pipeline.errors import UsageProblem
from pipeline.intake import Intake
from pipeline.log import Unavailable
from pipeline.policies import load_policy
from pipeline.sqlite_log import SqliteLog
from producers.source import Observed
from schemas import records, topics

NOW = 1_767_225_600_000


def run(directory, steps, *, policy="default", own_clock=False, log_type=SqliteLog):
    """What stands on the log after `steps(intake)`: (ts, kind)."""

    async def body():
        log = log_type(directory, clock=lambda: NOW)
        try:
            intake = Intake(log, load_policy(policy), own_clock)
            await intake.start()
            await steps(intake)
            return [(record.ts, record.kind) for record in log.tail(topics.OBSERVATIONS, -1)]
        finally:
            await log.close()

    return asyncio.run(body())


async def nothing(intake):
    pass


async def say(intake, ts=None):
    await intake.append([Observed("n1", "kernel", b"{}", ts)], source="kmsg", position="1")


def test_the_policy_comes_before_all_else(tmp_path):
    assert run(tmp_path, say) == [(NOW, "policy"), (NOW, "kernel")]


def test_a_policy_that_is_in_force_already_is_not_said_again(tmp_path):
    run(tmp_path, nothing)
    assert run(tmp_path, nothing) == [(NOW, "policy")]
    assert run(tmp_path, nothing, policy="spec") == [(NOW, "policy")] * 2
    assert run(tmp_path, nothing) == [(NOW, "policy")] * 3


def test_where_sources_own_the_clock_the_policy_takes_the_time_of_the_first_record(tmp_path):
    async def steps(intake):
        await say(intake, 5000)
        await say(intake, 6000)

    assert run(tmp_path, steps, own_clock=True) == [(5000, "policy"), (5000, "kernel"), (6000, "kernel")]


def test_times_of_two_kinds_do_not_meet_in_one_log(tmp_path):
    run(tmp_path, nothing, own_clock=True)
    with pytest.raises(UsageProblem, match="holds the history of a simulated or recorded fleet, not of live sources"):
        run(tmp_path, nothing)
    run(tmp_path, nothing, own_clock=True)


def test_a_source_that_fails_is_one_line_and_another_when_it_goes_on(tmp_path, caplog):
    async def steps(intake):
        for state, detail in (("ok", ""), ("failing", "no"), ("failing", "no"), ("failing", "still"), ("ok", "")):
            status = records.SourceStatus(ts=NOW, node="n1", source="kmsg", state=state, detail=detail)
            await intake.append([Observed("n1", "source", records.encode(status))], source="kmsg", position=None)

    with caplog.at_level(logging.WARNING):
        run(tmp_path, steps)
    assert [record.getMessage() for record in caplog.records] == [
        "source kmsg: no",
        "source kmsg: still",
        "source kmsg goes on",
    ]


def test_the_newest_status_of_each_source_is_known(tmp_path):
    async def steps(intake):
        for state in ("ok", "failing"):
            status = records.SourceStatus(ts=NOW, node="n1", source="kmsg", state=state)
            told = Observed("n1", "source", records.encode(status))
            await intake.append([told], source="kmsg", position=None)
        assert intake.sources["kmsg"].state == "failing"

    run(tmp_path, steps)


def test_while_the_disk_fails_nothing_is_lost_and_it_is_said_once(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(intake_module, "BACKOFF_S", (0.001, 0.002))

    class FailsAtFirst(SqliteLog):
        failures = 3

        async def append(self, topic, entries, source="", position=None):
            if entries and entries[0].kind == "kernel" and self.failures:
                self.failures -= 1
                raise Unavailable("disk full")
            await super().append(topic, entries, source, position)

    async def steps(intake):
        await say(intake)
        assert intake.outage == ""

    assert run(tmp_path, steps, log_type=FailsAtFirst) == [(NOW, "policy"), (NOW, "kernel")]
    assert caplog.messages == ["sources wait: disk full", "sources go on"]
