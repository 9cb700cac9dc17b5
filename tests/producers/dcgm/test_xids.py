from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from producers.dcgm.inventory import Place
from producers.dcgm.xids import LATE_US, Event, Xids
from schemas.records import Gpu
from tests.producers.dcgm.agent import running

A, B = "GPU-0", "GPU-1"
SECOND = 1_000_000
START = 1_000_000 * SECOND


def event(ts: int, code: int = 31, uuid: str = A, gi: int | None = None) -> Event:
    return Event(Place(Gpu(uuid=uuid), gi), ts, code)


class Engine:
    """What an engine holds: events with the time it got them."""

    def __init__(self) -> None:
        self.events: list[tuple[int, Event]] = []

    def read(self, xids: Xids, now: int) -> list[Event]:
        held = sorted((event for got, event in self.events if got <= now), key=lambda event: event.ts)
        last = {event.place.gpu.uuid: event for event in held}
        assert xids.from_us is not None
        since = [event for event in held if event.ts >= (xids.from_us or 0)]
        return xids.news(list(last.values()), since, now)


def test_the_last_xid_at_first_sight_is_old_news() -> None:
    xids, engine = Xids(), Engine()
    engine.events = [(START - SECOND, event(START - SECOND))]
    xids.connected(START)
    assert [engine.read(xids, START + n * SECOND) for n in range(3)] == [[], [], []]


def test_an_xid_is_told_once_however_long_the_engine_shows_it() -> None:
    xids, engine = Xids(), Engine()
    xids.connected(START)
    engine.events = [(START + SECOND, event(START + SECOND))]
    told = [engine.read(xids, START + n * SECOND) for n in range(1, 100)]
    assert told[0] == [event(START + SECOND)]
    assert not any(told[1:])


def test_the_same_xid_twice_is_two_events() -> None:
    xids, engine = Xids(), Engine()
    xids.connected(START)
    engine.events = [(START + 1, event(START + 1)), (START + 2, event(START + 2))]
    assert engine.read(xids, START + SECOND) == [event(START + 1), event(START + 2)]


def test_an_xid_that_the_engine_stores_later_than_it_happened_is_not_lost() -> None:
    """Who asks for what is new since the last answer, never sees it."""
    xids, engine = Xids(), Engine()
    xids.connected(START)
    happened = START + SECOND
    engine.events = [(happened + 800_000, event(happened, 79))]
    told, naive, next_since = [], [], START
    for tick in range(30):
        now = START + tick * SECOND // 10  # at 10 Hz
        naive += [event for got, event in engine.events if got <= now and event.ts >= next_since]
        next_since = now
        told += engine.read(xids, now)
    assert naive == []
    assert told == [event(happened, 79)]


def test_an_xid_that_comes_much_later_is_told_when_it_becomes_the_last_one() -> None:
    xids, engine = Xids(), Engine()
    xids.connected(START)
    engine.read(xids, START)
    engine.events = [(START, event(START + 1, 31))]
    assert engine.read(xids, START + SECOND) == [event(START + 1, 31)]
    late = event(START + 2 * SECOND, 79)
    engine.events.append((START + 100 * SECOND, late))
    assert engine.read(xids, START + 99 * SECOND) == []
    assert engine.read(xids, START + 100 * SECOND) == [late]
    assert engine.read(xids, START + 101 * SECOND) == []


def test_another_connection_makes_nothing_new() -> None:
    xids, engine = Xids(), Engine()
    xids.connected(START)
    engine.events = [(START + SECOND, event(START + SECOND))]
    assert engine.read(xids, START + SECOND)
    xids.connected(START + 60 * SECOND)
    assert engine.read(xids, START + 60 * SECOND) == []


def test_what_happens_while_there_is_no_connection_is_told_afterwards() -> None:
    xids, engine = Xids(), Engine()
    xids.connected(START)
    engine.read(xids, START)
    engine.events = [(START + n * SECOND, event(START + n * SECOND, 31 + n)) for n in (20, 30)]
    xids.connected(START + 60 * SECOND)
    assert [each.code for each in engine.read(xids, START + 60 * SECOND)] == [51, 61]


def test_a_clock_that_is_set_back_makes_nothing_new_and_hides_nothing() -> None:
    xids, engine = Xids(), Engine()
    xids.connected(START)
    engine.events = [(0, event(START + n * SECOND)) for n in (1, 2)]
    assert len(engine.read(xids, START + 3 * SECOND)) == 2
    back = START - 3600 * SECOND
    assert engine.read(xids, back) == []
    assert engine.read(xids, back + SECOND) == []
    engine.events += [(back, event(back + 2 * SECOND, 43)), (back, event(back + 2 * SECOND + 1, 79))]
    assert [each.code for each in engine.read(xids, back + 3 * SECOND)] == [43, 79]
    assert engine.read(xids, back + 4 * SECOND) == []


@given(
    st.lists(
        st.tuples(
            st.integers(1, 120 * SECOND),  # when it happens
            st.integers(0, LATE_US - SECOND),  # how much later the engine has it
            st.sampled_from([31, 43, 79]),
            st.sampled_from([A, B]),
        ),
        max_size=12,
        unique_by=lambda one: (one[0], one[2], one[3]),
    ),
    st.lists(st.integers(1, SECOND), min_size=1, max_size=20),
    st.sets(st.integers(0, 200), max_size=6),
)
def test_each_xid_is_told_exactly_once_through_restarts_of_the_agent(
    happen: list[tuple[int, int, int, str]], pauses: list[int], restarts: set[int]
) -> None:
    xids, engine = Xids(), Engine()
    engine.events = [(START + at + late, event(START + at, code, uuid)) for at, late, code, uuid in happen]
    xids.connected(START)
    told, now, number = [], START, 0
    while now < START + 140 * SECOND:
        now += max(pauses[number % len(pauses)], SECOND // 2)
        if number in restarts:
            position = xids.position()
            xids = Xids()
            xids.resume(position)
            xids.connected(now)
        told += engine.read(xids, now)
        number += 1
    assert sorted(told, key=str) == sorted((event for _, event in engine.events), key=str)


def test_a_storm_does_not_blow_up_the_position() -> None:
    xids, engine = Xids(), Engine()
    xids.connected(START)
    engine.events = [(START + n, event(START + n)) for n in range(1, 20_000)]
    assert len(engine.read(xids, START + SECOND)) == 19_999
    position = xids.position()
    assert position is not None
    assert len(position) < 20_000


def test_xids_before_us_are_old_news_and_those_after_are_faults(double: Any) -> None:
    engine = double.HostEngine()
    engine.xid(0, 31)

    async def script() -> None:
        async with running() as log:
            await log.rounds(3)
            assert log.xids() == []
            engine.xid(1, 79)
            engine.xid(1, 79)
            await log.until(lambda: len(log.xids()) == 2)
            await log.rounds(3)
            assert log.xids() == [(B, 79)] * 2
            fault = log.all("kernel")[0]
            assert (fault.fault, fault.bdf, fault.source) == ("xid", "0000:2b:00", "dcgm")
            assert fault.ts * 1000 <= engine.now_us()

    asyncio.run(script())


def test_an_xid_is_told_with_the_time_at_which_the_kernel_printed_it(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            happened = engine.now_us()
            await asyncio.sleep(0.1)
            engine.xid(0, 79, ts=happened)
            await log.until(lambda: log.xids())
            assert [fault.ts for fault in log.all("kernel")] == [happened // 1000]

    asyncio.run(script())


def test_an_agent_that_is_started_again_tells_what_happened_meanwhile_and_nothing_twice(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.xid(0, 31)
            await log.until(lambda: log.xids())
        engine.xid(0, 43)
        async with running(position=log.position) as again:
            await again.until(lambda: again.xids())
            await again.rounds(3)
            assert again.xids() == [(A, 43)]

    asyncio.run(script())


def test_a_position_of_another_version_is_no_obstacle(double: Any) -> None:
    double.HostEngine()

    async def script() -> None:
        async with running(position="gibberish") as log:
            await log.rounds(2)
            assert log.states() == ["ok"]

    asyncio.run(script())


def test_a_restarted_engine_has_forgotten_its_xids_and_we_repeat_none(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.xid(0, 31)
            await log.until(lambda: log.xids())
            restarted = engine.restart()
            await log.until(lambda: log.states() == ["ok", "failing", "ok"])
            restarted.xid(0, 43)
            await log.until(lambda: len(log.xids()) > 1)
            assert log.xids() == [(A, 31), (A, 43)]

    asyncio.run(script())


def test_an_xid_of_a_mig_instance_names_the_instance(double: Any) -> None:
    engine = double.HostEngine()
    engine.instances = [((4, 7), (1, 1), 2, 0xFFFFFFFF), ((5, 9), (4, 7), 2, 3)]

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.xid(7, 94, kind=4)
            await log.until(lambda: log.xids())
            engine.xid(9, 43, kind=5)
            await log.until(lambda: len(log.xids()) == 2)
            assert [(each.uuid, each.bdf, each.gi, each.ci, each.code) for each in log.all("kernel")] == [
                (B, "0000:2b:00", 2, None, 94),
                (B, "0000:2b:00", 2, 3, 43),
            ]

    asyncio.run(script())
