"""The sink as whoever feeds it sees it: nothing before all is read, nothing after it was told to let go."""

from __future__ import annotations

import asyncio
import time

import pytest

from schemas import topics
from schemas.states import Step
from sinks.families import page
from sinks.kit import Probe, check_sink
from sinks.schedulers.sink import SchedulerSink
from tests.sinks.schedulers.world import World, eviction


class Kept:
    def __init__(self):
        self.said = []

    async def send(self, said):
        self.said += said

    async def close(self):
        pass


class Slow(World):
    """Its drains take as long as somebody says."""

    gate = None

    async def drain(self, unit, note):
        await self.gate.wait()
        await super().drain(unit, note)


def made(world, enabled=True):
    return SchedulerSink(world, Kept(), lambda: 1, enabled)


async def until(true, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def test_it_is_a_sink():
    def probe():
        sink = made(World({"w1": [1]}))
        return Probe(sink, lambda: dict(sink._view.cases))

    said = [eviction(1, Step.DRAINING, 1), eviction(2, Step.RMA, 2), eviction(1, Step.IN_SERVICE, 3)]
    check_sink(probe, topics.EVICTIONS, said)


def test_half_a_view_puts_nothing_back_and_takes_nothing_out():
    async def story():
        world = World({"w1": [1], "w2": [2]})
        world.holds["w1"] = {"gpu-vitals": False}
        sink = made(world)
        await sink.apply(topics.EVICTIONS, [eviction(1, Step.IN_SERVICE, 1), eviction(2, Step.DRAINING, 2)])
        await asyncio.sleep(0.1)
        assert world.states() == {"w1": "drained", "w2": "serving"}
        await sink.apply(topics.EVICTIONS, [eviction(1, Step.DRAINING, 3)])
        sink.caught_up()
        await until(lambda: world.states() == {"w1": "drained", "w2": "drained"})
        assert world.calls == [("drain", "w2")]
        await sink.close()

    asyncio.run(story())


def test_whoever_lets_go_acts_no_more_until_it_has_its_place_again():
    async def story():
        world = World({"w1": [1]})
        sink = made(world)
        sink.caught_up()
        await sink.let_go()
        await sink.apply(topics.EVICTIONS, [eviction(1, Step.DRAINING, 1)])
        await asyncio.sleep(0.2)
        assert world.calls == []
        sink.caught_up()
        await until(lambda: world.calls == [("drain", "w1")])
        await sink.close()
        await sink.close()

    asyncio.run(story())


def test_a_call_that_takes_long_holds_up_neither_the_others_nor_their_reports():
    async def story():
        world = Slow({"w1": [1], "w2": [2]})
        world.gate = asyncio.Event()
        sink = made(world)
        reports = sink._reports
        await sink.apply(topics.EVICTIONS, [eviction(1, Step.DRAINING, 1), eviction(2, Step.REMOVING, 2)])
        sink.caught_up()
        await until(lambda: {(said.uuid, said.state) for said in reports.said} >= {("GPU-2", "removed")})
        assert world.states()["w1"] == "serving"
        world.gate.set()
        await until(lambda: ("GPU-1", "drained") in {(said.uuid, said.state) for said in reports.said})
        assert world.calls == [("remove", "w2"), ("drain", "w1")]
        await sink.close()

    asyncio.run(story())


@pytest.mark.parametrize("enabled", [True, False])
def test_its_metrics(enabled):
    async def story():
        world = World({"w1": [1]})
        world.in_flight["w1"] = 3
        sink = made(world, enabled)
        await sink.apply(topics.EVICTIONS, [eviction(1, Step.DRAINING, 1), eviction(9, Step.RMA, 2)])
        sink.caught_up()
        await until(lambda: sink._reconciler.stats().in_flight == 3)
        shown = page(sink).decode()
        result, state = ("done", "drained") if enabled else ("would", "serving")
        for line in (
            f'gpu_vitals_scheduler_actions_total{{action="drain",result="{result}",scheduler="world"}} 1.0',
            f'gpu_vitals_scheduler_units_out{{scheduler="world",state="{state}"}} 1.0',
            'gpu_vitals_scheduler_in_flight{scheduler="world"} 3.0',
            'gpu_vitals_scheduler_gpus_unknown{scheduler="world"} 1.0',
            'gpu_vitals_scheduler_away_seconds{scheduler="world"} 0.0',
            f'gpu_vitals_scheduler_enabled{{scheduler="world"}} {float(enabled)}',
        ):
            assert line in shown
        assert bool(sink._reports.said) is enabled
        await sink.close()

    asyncio.run(story())
