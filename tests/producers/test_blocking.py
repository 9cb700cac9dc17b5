from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from producers.blocking import Blocking
from producers.source import SourceError


def fail() -> int:
    raise ValueError("no")


def test_it_returns_and_raises_what_the_call_does() -> None:
    async def run() -> None:
        blocking = Blocking()
        assert await blocking.call(lambda: 7) == 7
        with pytest.raises(ValueError, match="no"):
            await blocking.call(fail)
        assert await blocking.call(lambda: 8) == 8

    asyncio.run(run())


def test_a_call_that_hangs_costs_one_thread_and_neither_the_loop_nor_the_end() -> None:
    release = threading.Event()

    async def run() -> None:
        blocking = Blocking()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(blocking.call(release.wait), 0.01)
        before = threading.active_count()
        with pytest.raises(SourceError, match="an earlier call has not come back yet"):
            await blocking.call(lambda: True)
        assert threading.active_count() == before

    asyncio.run(run())  # ends although the call has not
    release.set()


def test_after_a_late_call_has_come_back_the_next_one_runs() -> None:
    release = threading.Event()

    async def run() -> None:
        blocking = Blocking()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(blocking.call(release.wait), 0.01)
        release.set()
        while blocking.busy:
            await asyncio.sleep(0.001)
        assert await blocking.call(lambda: 9) == 9

    asyncio.run(run())


def test_all_calls_run_in_one_thread_which_ends_with_who_asked() -> None:
    async def run() -> list[threading.Thread]:
        blocking = Blocking()
        with pytest.raises(ValueError, match="no"):
            await blocking.call(fail)
        return [await blocking.call(threading.current_thread) for _ in range(3)]

    first, *others = asyncio.run(run())
    gc.collect()  # an error holds on to where it was raised
    first.join(60.0)
    assert (others, first.is_alive()) == ([first, first], False)
