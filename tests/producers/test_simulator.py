from __future__ import annotations

import asyncio

import pytest

from producers.fleet import START_MS
from producers.kit import check_source
from producers.simulator import Simulator
from producers.source import Ended, SourceError


def test_it_keeps_the_contract_of_a_source() -> None:
    said = check_source(lambda: Simulator(16, speed=0.0, for_s=9000, seed=2))
    assert {one.kind for one in said} == {"inventory", "telemetry", "kernel", "tick"}
    times = [one.ts or 0 for one in said]
    assert times == sorted(times)
    assert set(times) == set(range(START_MS, START_MS + 9000 * 1000, 1000))


def test_it_goes_at_the_speed_that_was_asked_for() -> None:
    async def run() -> tuple[int, float]:
        source = Simulator(8, speed=200.0)
        clock = asyncio.get_running_loop().time
        await source.open(None)
        begin, seconds = clock(), 0
        while clock() - begin < 0.3:
            seconds += len({one.ts for one in await source.read()})
        return seconds, clock() - begin

    seconds, took_s = asyncio.run(run())
    assert 0.5 * 200 * took_s < seconds <= 200 * took_s


def test_a_position_names_its_world() -> None:
    async def run() -> None:
        source = Simulator(8, seed=7, start_ms=1_000_000, speed=0.0, for_s=10)
        await source.open(None)
        before = await source.read()
        position = source.position()
        resumed = Simulator(8, seed=1, speed=0.0, for_s=20)
        await resumed.open(position)
        assert {one.ts for one in await resumed.read()} == set(range(1_010_000, 1_020_000, 1000))
        assert before[0].ts == 1_000_000
        with pytest.raises(Ended):
            await source.read()

    asyncio.run(run())


def test_reading_before_opening_is_an_error() -> None:
    with pytest.raises(SourceError, match="not open"):
        asyncio.run(Simulator(8).read())
