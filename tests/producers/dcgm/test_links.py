from __future__ import annotations

import asyncio
from typing import Any

from tests.producers.dcgm.agent import running

A, B = "GPU-0", "GPU-1"
DOWN, UP = 2, 3


def test_links_are_told_at_first_and_when_one_changes(double: Any) -> None:
    engine = double.HostEngine(links=4)

    async def script() -> None:
        async with running() as log:
            await log.rounds(3)
            assert [(each.uuid, each.links) for each in log.all("links")] == [(A, ["up"] * 4), (B, ["up"] * 4)]
            engine.gpus[1].links[2] = DOWN
            await log.until(lambda: len(log.all("links")) == 3)
            engine.gpus[1].links[2] = UP
            await log.until(lambda: len(log.all("links")) == 4)
            told = [(each.uuid, each.links) for each in log.all("links")[2:]]
            assert told == [(B, ["up", "up", "down", "up"]), (B, ["up"] * 4)]

    asyncio.run(script())


def test_gpus_without_nvlink_say_nothing_of_links(double: Any) -> None:
    engine = double.HostEngine()
    for gpu in engine.gpus.values():
        gpu.links = [0] * 18

    async def script() -> None:
        async with running() as log:
            await log.rounds(3)
            assert log.all("links") == []

    asyncio.run(script())


def test_an_engine_without_its_switch_module_is_read_all_the_same(double: Any) -> None:
    engine = double.HostEngine()
    engine.nvswitch = False

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: "no NVLink states" in log.state()[1])
            await log.rounds(2)
            assert log.state()[0] == "ok"
            assert log.all("links") == []
            engine.nvswitch = True
            await log.until(lambda: log.all("links") and log.state() == ("ok", ""))

    asyncio.run(script())
