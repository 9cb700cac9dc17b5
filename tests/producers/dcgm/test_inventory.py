from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from producers import driver
from tests.producers.dcgm.agent import running

A, B = "GPU-0", "GPU-1"


def test_another_load_of_the_driver_is_told(double: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.setattr(driver, "MODULE", first)
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            os.utime(first, (1, 1))  # whoever looks first makes the time
            await log.rounds(2)
            assert len(log.all("inventory")) == 1
            monkeypatch.setattr(driver, "MODULE", second)
            engine.driver = "590.1"
            engine.restart().driver = "590.1"
            # A survey that was under way may still have seen the old driver beside the new load.
            await log.until(lambda: log.all("inventory")[-1].driver == "590.1")
            before, *later = log.all("inventory")
            assert before.driver == "580.82.07"
            assert all(after.driver_load != before.driver_load for after in later)

    asyncio.run(script())


def test_a_number_of_which_the_engine_tells_nothing_is_no_gpu(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = double.HostEngine()
    monkeypatch.setattr(engine, "all_devices", lambda client: [0, 1, 2])
    engine.gpus[1].serial = "<<<NOT_SUPPORTED>>>"

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            assert [(info.uuid, info.serial) for info in log.all("inventory")[0].gpus] == [
                (A, "1652022000000"),
                (B, ""),
            ]

    asyncio.run(script())


def test_a_gpu_alone_has_no_peers(double: Any) -> None:
    double.HostEngine(1)

    async def script() -> None:
        async with running() as log:
            await log.rounds(1)
            assert log.all("inventory")[0].gpus[0].peers == {}

    asyncio.run(script())


def test_an_engine_whose_gpus_are_all_lost_says_so_and_one_that_comes_back_is_read(double: Any) -> None:
    engine = double.HostEngine()
    engine.lose(0)
    engine.lose(1)

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.state()[0] == "failing")
            assert log.state()[1] == (
                "GPU-0 at 0000:1b:00 is lost, says the host engine; GPU-1 at 0000:2b:00 is lost, says the host engine"
            )
            await log.rounds(1)
            assert log.sample()[150] == {A: None, B: None}
            engine.gpus[0].status = 1
            await log.until(lambda: log.sample()[150] == {A: 40, B: None} and log.state()[0] == "ok")

    asyncio.run(script())
