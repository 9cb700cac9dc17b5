"""The spool on its event loop: what is durable when, and a disk that does not answer."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pipeline.log import Entry
from pipeline.spool import spool as spool_module
from pipeline.spool.lane import FAULTS
from pipeline.spool.spool import Spool
from pipeline.spool.store import Store

FAULT = Entry("n1", "kernel", b"fault")
FRAME = Entry("n1", "telemetry", b"frame")


def run(directory: Path, steps: Callable[[Spool], Awaitable[None]]) -> None:
    async def body() -> None:
        spool = Spool(Store(directory, 1 << 20, boot="b", now_ms=1))
        try:
            async with asyncio.timeout(60):
                await steps(spool)
        finally:
            await spool.close()

    asyncio.run(body())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that have been made durable, in order."""
    found: list[str] = []
    real = os.fdatasync

    def sync(file: int) -> None:
        real(file)
        found.append(Path(os.readlink(f"/proc/self/fd/{file}")).name.partition("-0")[0])

    monkeypatch.setattr(spool_module.os, "fdatasync", sync)
    return found


async def until(happened: Callable[[], object]) -> None:
    while not happened():
        await asyncio.sleep(0.001)


def test_a_fault_is_made_durable_at_once(tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SYNC_S", 1e6)

    async def steps(spool: Spool) -> None:
        await spool.append("", [FAULT])
        await until(lambda: "faults" in synced)

    run(tmp_path, steps)


def test_telemetry_waits_for_more_and_a_fault_takes_it_along(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SYNC_S", 1e6)

    async def steps(spool: Spool) -> None:
        await spool.append("", [FAULT])
        await until(lambda: tmp_path.name in synced)  # the last of it: that there are new files
        synced.clear()
        for _ in range(20):
            await spool.append("", [FRAME])
        assert synced == []
        await spool.append("", [FAULT])
        await until(lambda: len(synced) == 2)
        assert sorted(synced) == ["faults", "telemetry"]

    run(tmp_path, steps)


def test_telemetry_alone_is_made_durable_a_moment_later(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SYNC_S", 0.01)

    async def steps(spool: Spool) -> None:
        await spool.append("", [FRAME])
        await until(lambda: "telemetry" in synced)

    run(tmp_path, steps)


def test_what_cannot_be_made_durable_is_said_and_what_follows_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    async def steps(spool: Spool) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(spool_module.os, "fdatasync", broken)
            await spool.append("", [FAULT])
            await until(spool.problems)
        assert "input/output error; what is seen stays in memory" in spool.problems()["spool"]
        await spool.append("", [FAULT])
        batch = await spool.peek(FAULTS, 1)
        assert batch
        await spool.ack(batch)
        assert await spool.peek(FAULTS, 1)

    run(tmp_path, steps)
    assert len(caplog.messages) == 1


def test_a_disk_that_does_not_answer_holds_up_sources_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SLOW_S", 0.0)
    answers = threading.Event()

    async def steps(spool: Spool) -> None:
        real = spool.store.append

        def hangs(*args, **more):
            answers.wait(60)
            return real(*args, **more)

        monkeypatch.setattr(spool.store, "append", hangs)
        source = asyncio.create_task(spool.append("", [FAULT]))
        await until(spool.problems)
        assert spool.problems()["spool"] == "the disk has not answered for 0 s; sources wait"
        assert not source.done()
        answers.set()
        await source
        await until(lambda: not spool.problems())
        assert spool.store.waiting == 1

    run(tmp_path, steps)
