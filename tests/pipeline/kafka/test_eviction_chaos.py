"""An eviction from the kernel's line to a GPU that serves again, by real processes on a real Kafka, whoever is killed.

KILLS says how often: by hand and in CI a few, drawn; from 40 on (`make chaos`) first everybody at every moment, then
several in one case, some of which an operator ends. The seed of what is drawn is printed; SEED sets it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping

import pytest

from pipeline.kafka.settings import Kafka
from schemas.operators import RESTORE
from schemas.records import Eviction
from schemas.states import CaseState, Step
from tests.pipeline.kafka.eviction_world import DRAIN_S, World
from tests.pipeline.kafka.test_crash_audit import made
from tests.producers.commands.standins import OTHER, UUID

pytestmark = pytest.mark.timeout(7200)

KILLS = int(os.environ.get("KILLS", 4))
AT_ONCE = 5  # kills in one case, at most
RESTORED = 0.3  # share of the cases with drawn kills that an operator ends
REQUESTS = 8
PROCESSES = ("worker", "commander", "adapter", "scheduler", "agent")
MOMENTS: dict[str, Callable[[Eviction], bool]] = {
    "draining": lambda said: said.step is Step.DRAINING,
    "forcing": lambda said: said.step is Step.FORCING,
    "removing": lambda said: said.step is Step.REMOVING,
    "reset ordered": lambda said: said.detail == "reset ordered",
    "reset begun": lambda said: said.detail == "reset has begun",
    "diagnostic ordered": lambda said: said.detail == "diagnose ordered",
    "diagnostic begun": lambda said: said.detail == "diagnose has begun",
    "probation": lambda said: said.step is Step.PROBATION,
}
# Between these it may come too late for one order and too early for the next: an order that was taken back before the
# commander has sent it is in doubt until it expires, and the next case waits for so long.
RESTORABLE = ("draining", "probation")
ENDS = (Step.IN_SERVICE, Step.QUARANTINED, Step.RMA)


class Worlds:
    """One world for all tests, but that one in which a test has failed is left, and the next test has another."""

    def __init__(self, make: Callable[[], World]) -> None:
        self._make = make
        self._now: World | None = None

    def now(self) -> World:
        if self._now is None:
            self._now = self._make()
            try:
                self._now.start()
            except BaseException:
                self.end()
                raise
        return self._now

    def end(self) -> None:
        if self._now is not None:
            self._now.stop()
            self._now = None


@pytest.fixture(scope="module")
def worlds(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    def make() -> World:
        prefix = f"evictions{uuid.uuid4().hex[:8]}."
        kafka = Kafka(bootstrap=bootstrap, prefix=prefix, partitions=2, session_timeout_s=2.0)
        asyncio.run(made(kafka))
        return World(tmp_path_factory.mktemp("evictions"), kafka)

    there = Worlds(make)
    yield there
    there.end()


@pytest.fixture
def world(request: pytest.FixtureRequest, worlds: Worlds) -> Iterator[World]:
    failed = request.session.testsfailed
    try:
        yield worlds.now()
    finally:
        if request.session.testsfailed > failed:
            worlds.end()


def lived(world: World, kills: Mapping[str, str], restored_at: str = "", away_s: float = 0.0) -> list[Eviction]:
    """What is said of the case of one fault. kills: who is killed at which moment. restored_at: when an operator ends
    it. away_s: for how long who is killed stays away.
    """
    first, left = len(world.told.evictions), dict(kills)
    world.begin(REQUESTS)
    fail(world)
    said = world.said(first)
    at = first
    while said.step not in ENDS:
        if restored_at and MOMENTS[restored_at](said):
            world.operate(RESTORE)
            restored_at = ""
        for moment in [each for each in left if MOMENTS[each](said)]:
            world.kill(left.pop(moment), away_s)
        at += 1
        said = world.said(at)
    return world.told.evictions[first : at + 1]


def fail(world: World) -> None:
    """Another fault: nothing was reset since the case of the last one had ended."""
    assert len(world.machine.resets()) == world.resets
    world.fail()


def steps(case: list[Eviction]) -> list[Step]:
    """In their order, each time anew."""
    found = [said.step for said in case if said.step]
    return [step for at, step in enumerate(found) if at == 0 or step is not found[at - 1]]


def back(world: World, resets: int) -> None:
    """All is as it was before the case: the scheduler uses both GPUs, and gives both their full weight; and there were
    so many resets meanwhile.
    """
    world.wait_for(lambda: (found := world.gpu()) and (found["state"], found["owners"]) == ("serving", []))
    world.wait_for(lambda: world.weights() == {UUID: 1.0, OTHER: 1.0})
    assert world.told.gone == []
    assert len(world.machine.resets()) == world.resets + resets, world.story()
    world.resets += resets


def out_of_traffic(world: World, since: int) -> None:
    """While the case was open the GPU had no weight, and its neighbour all of it."""
    for said in world.told.decisions[since:]:
        if said.uuid == OTHER or said.state is not CaseState.IN_SERVICE:
            assert said.weight == (1.0 if said.uuid == OTHER else 0.0), said


def test_a_gpu_is_drained_forced_removed_reset_diagnosed_watched_and_serves_again(world: World) -> None:
    first, decisions = len(world.told.evictions), len(world.told.decisions)
    running = world.begin(20)
    fail(world)
    world.wait_for(lambda: any(said.in_flight == len(running) for said in world.told.evictions[first:]))
    for number in running[1:]:
        world.ask("DELETE", f"/requests/{number}")  # these finish; the last one has to be ended
    case = [world.said(first)]
    while case[-1].step not in ENDS:
        case.append(world.said(first + len(case)))
    assert steps(case) == [
        Step.DRAINING,
        Step.FORCING,
        Step.DRAINED,
        Step.REMOVING,
        Step.RESETTING,
        Step.DIAGNOSING,
        Step.PROBATION,
        Step.IN_SERVICE,
    ]
    assert [said.in_flight for said in case if said.step is Step.DRAINED] == [0]
    orders = {said.order.id: said.order.action for said in case if said.order}
    assert list(orders.values()) == ["reset", "diagnose"]
    back(world, resets=1)
    assert world.machine.resets()[-1] == f"--gpu-reset -i {UUID}"
    mine = [said.state for said in world.told.decisions[decisions:] if said.uuid == UUID]
    assert [state for at, state in enumerate(mine) if at == 0 or state is not mine[at - 1]] == [
        CaseState.DRAINING,
        CaseState.DRAINED,
        CaseState.IN_SERVICE,
    ]
    out_of_traffic(world, decisions)


def test_what_an_operator_ends_while_it_drains_is_never_reset(world: World) -> None:
    """Not later either: see `fail`."""
    world.apply(drain_timeout_s=600.0)  # it is the operator who ends it, however busy the machine
    try:
        case = lived(world, {}, restored_at="draining")
    finally:
        world.apply(DRAIN_S)
    assert steps(case) == [Step.DRAINING, Step.IN_SERVICE]
    assert not any(said.order or said.cancel for said in case)
    back(world, resets=0)


def test_a_removal_waits_for_a_scheduler_that_is_away_and_goes_on_when_it_is_back(world: World) -> None:
    first = len(world.told.evictions)
    world.begin(REQUESTS)
    fail(world)
    world.said(first)
    world.processes["scheduler"].end(signal.SIGKILL)
    world.wait_for(lambda: world.told.evictions[-1].step is Step.REMOVING)
    waiting = world.told.evictions[-1]
    assert (waiting.waits, waiting.deadline, waiting.order) == ("the scheduler to remove it", None, None)
    world.processes["scheduler"].start()
    world.wait_for(lambda: world.told.evictions[-1].step in ENDS)
    assert world.told.evictions[-1].detail == "mended"
    back(world, resets=1)


def indeterminate(world: World) -> set[str]:
    """Orders of which the agent has said that it died at work, and does not know how that ended."""
    return {result.id for result in world.told.results if result.state == "indeterminate"}


def planned(draw: random.Random) -> Iterator[tuple[dict[str, str], str]]:
    """(who is killed when, when an operator ends it) of each case."""
    alone = [({moment: process}, "") for moment in MOMENTS for process in PROCESSES]
    left, many = KILLS, len(alone) <= KILLS
    if many:
        yield from alone
        left -= len(alone)
    while left > 0:
        moments = draw.sample(list(MOMENTS), min(left, draw.randint(1, AT_ONCE) if many else AT_ONCE))
        left -= len(moments)
        restored_at = draw.choice(RESTORABLE) if many and draw.random() < RESTORED else ""
        yield {moment: draw.choice(PROCESSES) for moment in moments}, restored_at


def test_whoever_dies_and_whenever_a_case_ends_and_nothing_is_done_twice(world: World) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    draw = random.Random(seed)
    for kills, restored_at in planned(draw):
        decisions = len(world.told.decisions)
        case = lived(world, kills, restored_at, draw.choice([0.0, draw.uniform(0.0, 2.0)]))
        ended = case[-1]
        print(kills, f"restored at {restored_at or 'no time'}: {ended.step}, {ended.detail}", flush=True)
        orders = {said.order.id for said in case if said.order and said.order.action == "reset"}
        if ended.step is not Step.IN_SERVICE:
            assert ended.step is Step.QUARANTINED, world.story()
            assert "agent" in kills.values(), world.story()
            ordered = {said.order.id for said in case if said.order}
            world.wait_for(lambda ordered=ordered: ordered & indeterminate(world))
            assert ended.waits.startswith("an operator: look at it before"), ended.waits
            world.operate(RESTORE)
            world.wait_for(lambda: world.told.evictions[-1].step is Step.IN_SERVICE)
        resets = len(world.machine.resets()) - world.resets
        assert resets <= len(orders), world.story()
        if ended.detail == "mended":
            assert resets == 1, world.story()
        elif restored_at == "draining":
            assert resets == 0, world.story()
        back(world, min(resets, 1))
        out_of_traffic(world, decisions)
