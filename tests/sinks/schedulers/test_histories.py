"""Any order of cases, crashes, outages and strangers: what is not ours stays, and at the end all is as it should be."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.states import Step, Wanted
from sinks.schedulers.adapter import Away, Refused
from tests.sinks.schedulers.world import OURS, THEIRS, Bench, Killed, World, eviction, record

PLAN = {"w1": [1, 2], "w2": [2, 3]}
GPUS = st.sampled_from([1, 2, 3, 4])  # the last one is unknown to the scheduler
UNITS = st.sampled_from(sorted(PLAN))
FAILURES = st.sampled_from([None, Away("no answer"), (Away("lost answer"),), Killed(), (Killed(),), Refused("no")])

EVENTS = st.one_of(
    st.tuples(st.just("case"), GPUS, st.sampled_from(list(Step))),
    st.tuples(st.just("gone"), GPUS),
    st.tuples(st.just("again"), st.integers(0, 30)),  # an old record is delivered once more
    st.tuples(st.just("fail"), st.lists(FAILURES, min_size=1, max_size=6)),
    st.tuples(st.just("away"), st.booleans()),
    st.tuples(st.just("stranger"), UNITS, st.booleans()),
    st.tuples(st.just("work"), UNITS, st.integers(0, 3)),
    st.tuples(st.just("look"), st.integers(1, 4)),
    st.tuples(st.just("kill")),
)


class History:
    def __init__(self):
        self.world = World(PLAN)
        self.bench = Bench(self.world)
        self.steps = {}
        self.strangers = dict.fromkeys(PLAN, False)
        self.offset = 0

    async def go(self, event):
        match event:
            case ("case", gpu, step):
                self.offset += 1
                self.steps[gpu] = step
                self.bench.say(eviction(gpu, step, self.offset))
            case ("gone", gpu):
                self.offset += 1
                self.steps[gpu] = Step.IN_SERVICE
                self.bench.say(record(f"GPU-{gpu}", b"", self.offset))
            case ("again", at) if self.bench.log:
                self.bench.view.take(self.bench.log[at % len(self.bench.log)])
            case ("fail", failures):
                self.world.fails = list(failures)
            case ("away", away):
                self.world.away = "away" if away else ""
            case ("stranger", unit, holds):
                self.strangers[unit] = holds
                if holds:
                    self.world.holds[unit][THEIRS] = False
                else:
                    self.world.holds[unit].pop(THEIRS, None)
            case ("work", unit, count):
                if not self.world.holds[unit]:
                    self.world.in_flight[unit] = count
            case ("look", times):
                await self.look(times)
            case ("kill",):
                self.bench.start()

    async def look(self, times):
        for _ in range(times):
            try:
                await self.bench.step()
            except Killed:
                self.bench.start()
            assert {unit: THEIRS in held for unit, held in self.world.holds.items()} == self.strangers

    def wanted(self, unit):
        return max((self.steps.get(gpu, Step.IN_SERVICE).wanted for gpu in PLAN[unit]), key=list(Wanted).index)


@settings(max_examples=400)
@given(st.lists(EVENTS, min_size=8, max_size=50))
def test_whatever_happens_all_is_as_wanted_in_the_end(events):
    async def story():
        history = History()
        for event in events:
            await history.go(event)
        world = history.world
        world.fails, world.away = [], ""
        await history.bench.for_s(200)
        for unit, state in world.states().items():
            wanted, held = history.wanted(unit), world.holds[unit]
            if wanted is Wanted.SERVING:
                assert OURS not in held, unit
            elif wanted is Wanted.REMOVED:
                assert state == "removed", unit
            else:
                assert state != "serving", unit
            if wanted is Wanted.FORCED and state == "drained":
                assert world.in_flight[unit] == 0, unit
        calls = len(world.calls)
        await history.bench.for_s(200)
        assert len(world.calls) == calls, "it does not come to rest"
        last = {said.uuid: said for said in history.bench.reports}
        for gpu, step in history.steps.items():
            if step is not Step.IN_SERVICE:
                units = [unit for unit, gpus in PLAN.items() if gpu in gpus]
                expected = {world.standing(unit).state for unit in units} or {"unknown"}
                assert last[f"GPU-{gpu}"].state in expected

    asyncio.run(story())
