"""What the scheduler is asked for, and what is said of it, by example."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from schemas.states import Step
from sinks.schedulers import reconcile
from sinks.schedulers.adapter import Away, Refused
from tests.sinks.schedulers.world import THEIRS, Bench, World, eviction, record


def test_a_drain_is_followed_until_nothing_runs_and_put_back_at_the_end():
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.world.in_flight["w1"] = 3
        bench.say(eviction(1, Step.DRAINING, 1))
        assert await bench.step() == 0.5
        assert bench.world.states() == {"w1": "drained"}
        bench.world.in_flight["w1"] = 1
        assert await bench.step() == 0.5
        assert bench.told() == [("GPU-1", "drained", 3)]
        bench.world.in_flight["w1"] = 0
        assert await bench.step() == 5.0
        assert bench.told()[1:] == [("GPU-1", "drained", 0)]
        bench.say(eviction(1, Step.REMOVING, 2))
        await bench.step()
        bench.say(eviction(1, Step.IN_SERVICE, 3))
        await bench.step()
        assert bench.told()[2:] == [("GPU-1", "removed", 0), ("GPU-1", "serving", 0)]
        assert bench.world.calls == [("drain", "w1"), ("remove", "w1"), ("add", "w1")]
        said = bench.reports[-1]
        assert (said.node, said.cluster, said.bdf, said.scheduler) == ("n1", "c1", "0000:01:00", "world")
        assert said.case == 1_767_603_600_000

    asyncio.run(story())


def test_while_a_case_is_open_there_is_a_report_every_ten_seconds_and_none_afterwards():
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.say(eviction(1, Step.PROBATION, 1))
        await bench.for_s(60)
        assert 6 <= len(bench.reports) <= 7
        bench.say(eviction(1, Step.IN_SERVICE, 2))
        await bench.step()
        bench.reports.clear()
        await bench.for_s(300)
        assert bench.reports == []

    asyncio.run(story())


@pytest.mark.parametrize(
    ("step", "calls"),
    [
        (Step.DRAINING, ["drain"]),
        (Step.FORCING, ["drain", "force"]),
        (Step.DRAINED, ["drain"]),
        *((step, ["remove"]) for step in Step if step.state == "drained" and step is not Step.DRAINED),
        (Step.IN_SERVICE, []),
    ],
)
def test_each_step_of_a_case_asks_for_what_it_needs_and_once(step, calls):
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.world.in_flight["w1"] = 2
        bench.say(eviction(1, step, 1))
        await bench.for_s(8)
        assert [call for call, _ in bench.world.calls] == calls

    asyncio.run(story())


def old(state, number):
    """A record without a step."""
    said = {
        "ts": 1,
        "cluster": "c1",
        "node": "n1",
        "uuid": f"GPU-{number}",
        "state": state,
        "action": "drain",
        "cause": "",
        "opened": 1,
    }
    return json.dumps(said).encode()


def test_a_case_of_before_there_were_steps_is_told_by_its_state():
    async def story():
        bench = Bench(World({"w1": [1], "w2": [2]}))
        bench.say(record("GPU-1", old("draining", 1), 1), record("GPU-2", old("drained", 2), 2))
        await bench.step()
        assert bench.world.states() == {"w1": "drained", "w2": "drained"}

    asyncio.run(story())


def test_a_worker_goes_with_the_worst_of_its_gpus_and_a_gpu_with_all_its_workers():
    async def story():
        bench = Bench(World({"w1": [1, 2], "w2": [2]}))
        bench.world.in_flight |= {"w1": 4, "w2": 1}
        bench.say(eviction(1, Step.RMA, 1), eviction(2, Step.DRAINING, 2))
        await bench.step()
        assert bench.world.states() == {"w1": "removed", "w2": "drained"}
        assert sorted(bench.told()) == [("GPU-1", "removed", 4), ("GPU-2", "drained", 5)]
        bench.say(eviction(1, Step.IN_SERVICE, 3))
        await bench.for_s(10)
        assert bench.world.states() == {"w1": "removed", "w2": "drained"}  # it stays out, further than it must
        bench.say(eviction(2, Step.IN_SERVICE, 4))
        await bench.for_s(10)
        assert bench.world.states() == {"w1": "serving", "w2": "serving"}

    asyncio.run(story())


def test_whom_somebody_else_has_taken_out_we_leave_alone_until_he_puts_it_back():
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.world.holds["w1"] = {THEIRS: False}
        bench.say(eviction(1, Step.DRAINED, 1))
        await bench.for_s(10)
        assert bench.world.calls == []
        bench.world.holds["w1"] = {}
        await bench.for_s(10)
        assert bench.world.calls == [("drain", "w1")]
        bench.world.holds["w1"][THEIRS] = False
        bench.say(eviction(1, Step.IN_SERVICE, 2))
        await bench.for_s(300)
        assert bench.world.holds["w1"] == {THEIRS: False}

    asyncio.run(story())


def test_what_nobody_of_the_schedulers_knows_is_said_to_be_unknown():
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.say(eviction(7, Step.DRAINING, 1))
        assert await bench.step() == 5.0
        assert bench.told() == [("GPU-7", "unknown", None)]
        assert bench.reports[0].detail == "the scheduler does not know this GPU"
        assert bench.reconciler.stats().unknown == 1

    asyncio.run(story())


def test_a_scheduler_that_cannot_force_is_not_asked_to_and_it_is_said():
    async def story():
        bench = Bench(World({"w1": [1]}, can_force=False))
        bench.world.in_flight["w1"] = 2
        bench.say(eviction(1, Step.FORCING, 1))
        await bench.for_s(30)
        assert bench.world.calls == [("drain", "w1")]
        assert bench.reports[-1].detail == "force: this scheduler cannot end what runs"
        assert bench.reports[-1].state == "drained"

    asyncio.run(story())


def test_an_hour_without_the_scheduler_loses_and_doubles_nothing(caplog):
    async def story():
        bench = Bench(World({"w1": [1], "w2": [2], "w3": [3]}))
        bench.say(eviction(1, Step.DRAINED, 1))
        await bench.step()
        bench.world.away = "connection refused"
        bench.say(eviction(1, Step.IN_SERVICE, 2), eviction(2, Step.DRAINING, 3))
        bench.say(eviction(3, Step.DRAINING, 4), eviction(3, Step.IN_SERVICE, 5))
        bench.reports.clear()
        await bench.for_s(3600)
        assert {said.state for said in bench.reports} == {"unknown"}
        assert bench.reports[-1].detail == "the scheduler cannot be asked: connection refused"
        assert bench.reconciler.stats().away == "connection refused"
        assert bench.reconciler.stats().away_s >= 3600
        bench.world.away = ""
        await bench.for_s(120)
        assert bench.world.calls == [("drain", "w1"), ("add", "w1"), ("drain", "w2")]
        assert bench.reconciler.stats().away_s == 0.0
        assert [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING] == [
            "world is away: connection refused",
            "world is back",
        ]

    asyncio.run(story())


def test_one_unit_that_is_refused_or_fails_holds_up_no_other_and_is_tried_again(caplog):
    async def story():
        bench = Bench(World({"w1": [1], "w2": [2], "w3": [3]}))
        bench.world.refuses = {"w1"}
        bench.world.fails = [None, None, Away("timed out"), None]  # units, look, and the drain of w2
        bench.say(*(eviction(each, Step.DRAINING, each) for each in (1, 2, 3)))
        await bench.step()
        assert bench.world.states() == {"w1": "serving", "w2": "serving", "w3": "drained"}
        await bench.for_s(1)
        assert bench.world.states() == {"w1": "serving", "w2": "drained", "w3": "drained"}
        await bench.for_s(120)
        assert bench.world.calls.count(("drain", "w1")) <= 3
        assert bench.reports[-3].detail == "drain: no"
        bench.world.refuses = set()
        await bench.for_s(60)
        assert bench.world.states()["w1"] == "drained"
        errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert errors == ["world: drain w1 is not done: no"]
        assert bench.reconciler.calls["drain", "done"] == 3

    asyncio.run(story())


def test_what_is_taken_and_does_not_show_is_asked_for_again_ever_more_rarely(caplog):
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.world.slow = {"w1"}
        bench.say(eviction(1, Step.REMOVING, 1))
        with caplog.at_level(logging.INFO):
            await bench.for_s(600)
        assert 5 <= len(bench.world.calls) <= 20
        assert len([each for each in caplog.records if "remove w1" in each.getMessage()]) == 1

    asyncio.run(story())


def test_a_fault_of_the_adapters_own_ends_nothing():
    async def story():
        bench = Bench(World({"w1": [1], "w2": [2]}))
        bench.world.fails = [KeyError("id"), None, None, ZeroDivisionError("oops")]
        bench.say(eviction(1, Step.DRAINING, 1), eviction(2, Step.DRAINING, 2))
        await bench.step()
        assert bench.reports[0].detail == "the scheduler cannot be asked: KeyError: 'id'"
        await bench.for_s(90)
        assert bench.world.states() == {"w1": "drained", "w2": "drained"}
        assert bench.reconciler.calls["drain", "error"] == 1

    asyncio.run(story())


def test_what_was_refused_is_asked_at_once_when_something_else_is_wanted():
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.world.fails = [None, None, Refused("not now")]
        bench.say(eviction(1, Step.DRAINING, 1))
        await bench.step()
        bench.say(eviction(1, Step.REMOVING, 2))
        await bench.step()
        assert bench.world.states() == {"w1": "removed"}

    asyncio.run(story())


def test_while_the_log_is_away_the_scheduler_is_told_and_nothing_is_put_back():
    async def story():
        bench = Bench(World({"w1": [1], "w2": [2]}))
        bench.say(eviction(1, Step.DRAINED, 1))
        await bench.step()
        bench.log_away, bench.may_add = True, False
        bench.say(eviction(1, Step.IN_SERVICE, 2), eviction(2, Step.DRAINING, 3))
        await bench.for_s(60)
        assert bench.world.states() == {"w1": "drained", "w2": "drained"}
        assert bench.reconciler.stats().unsent == "Kafka is away"
        bench.log_away, bench.may_add = False, True
        bench.reports.clear()
        await bench.for_s(10)
        assert bench.world.states() == {"w1": "serving", "w2": "drained"}
        assert set(bench.told()) == {("GPU-1", "serving", 0), ("GPU-2", "drained", 0)}
        assert bench.reconciler.stats().unsent == ""

    asyncio.run(story())


def test_a_dry_run_says_what_it_would_do_once_and_does_and_reports_nothing(caplog):
    async def story():
        bench = Bench(World({"w1": [1], "w2": [2]}), enabled=False)
        bench.world.holds["w2"] = {"gpu-vitals": True}
        bench.say(eviction(1, Step.DRAINING, 1), eviction(2, Step.IN_SERVICE, 2))
        with caplog.at_level(logging.INFO):
            await bench.for_s(200)
        assert bench.world.calls == []
        assert bench.reports == []
        assert dict(bench.reconciler.calls) == {("drain", "would"): 1, ("add", "would"): 1}
        said = [each.getMessage() for each in caplog.records]
        assert said == [
            "world: would drain w1 (draining GPU-1 since 1767603600000: Xid 48: double-bit ECC error)",
            "world: would add w2 (in-service GPU-2 since 1767603600000: Xid 48: double-bit ECC error)",
        ]

    asyncio.run(story())


def test_what_a_lost_call_leaves_behind_is_swept_up_within_a_minute():
    async def story():
        bench = Bench(World({"w1": [1]}))
        bench.say(eviction(1, Step.DRAINED, 1), eviction(1, Step.IN_SERVICE, 2))
        await bench.step()
        bench.world.holds["w1"] = {"gpu-vitals": False}  # a call that we had given up arrives
        await bench.for_s(61)
        assert bench.world.states() == {"w1": "serving"}

    asyncio.run(story())


def test_many_cases_that_are_over_are_swept_in_pieces_and_none_is_left_out(monkeypatch):
    monkeypatch.setattr(reconcile, "SWEPT_AT_ONCE", 2)

    async def story():
        bench = Bench(World({f"w{number}": [number] for number in range(9)}))
        bench.say(*(eviction(number, Step.IN_SERVICE, number) for number in range(8)), eviction(8, Step.DRAINED, 8))
        await bench.for_s(1)
        for held in bench.world.holds.values():
            held["gpu-vitals"] = True
        bench.world.refuses = {"w0", "w1", "w2"}
        await bench.for_s(70)
        states = bench.world.states()
        assert [unit for unit, state in states.items() if state == "removed"] == ["w0", "w1", "w2", "w8"]
        bench.world.refuses = set()
        await bench.for_s(130)
        assert [unit for unit, state in bench.world.states().items() if state == "removed"] == ["w8"]

    asyncio.run(story())


@pytest.mark.parametrize("known_before", [True, False])
def test_a_gpu_that_has_left_takes_its_unit_along_no_longer(known_before):
    async def story():
        bench = Bench(World({"w1": [1]}))
        if known_before:
            bench.say(eviction(1, Step.RMA, 1))
            await bench.step()
        bench.world.holds["w1"] = {"gpu-vitals": True}
        bench.say(record("GPU-1", b"", 2))
        await bench.for_s(5)
        assert bench.world.states() == {"w1": "serving"}
        assert bench.view.cases == {}

    asyncio.run(story())
