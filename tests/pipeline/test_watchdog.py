from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from pipeline.watchdog import Watchdog


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """(what systemd sets, what it has been told so far)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = str(tmp_path / "notify") if request.param == "path" else f"@gpu-vitals-test-{os.getpid()}"
        listening.bind(name.replace("@", "\0", 1))
        listening.setblocking(False)

        def told():
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append(listening.recv(4096).decode())
            return found

        yield {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"}, told


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(systemd):
    environment, told = systemd
    watchdog = Watchdog(environment)
    watchdog.ready("dcgm, kmsg")
    watchdog.alive()
    watchdog.stopping()
    assert told() == ["READY=1\nSTATUS=dcgm, kmsg", "WATCHDOG=1", "STOPPING=1"]


def test_a_systemd_that_does_not_listen_holds_up_nothing(systemd):
    environment, told = systemd
    watchdog = Watchdog(environment)
    for _ in range(2_000):  # more than any queue takes
        watchdog.alive()
    assert told()


def test_what_does_not_end_ends_the_signs_of_life_until_it_does(systemd, caplog):
    environment, told = systemd
    now = [0.0]
    watchdog = Watchdog(environment, lambda: now[0], stalled_s=60.0)
    with watchdog.step("an append has not ended"):
        now[0] = 59.0
        watchdog.alive()
        assert told() == ["WATCHDOG=1"]
        now[0] = 61.0
        watchdog.alive()
        watchdog.alive()
        assert told() == []
    watchdog.alive()
    assert told() == ["WATCHDOG=1"]
    assert caplog.messages == ["no more signs of life: an append has not ended for 60 s"]


def test_a_step_that_fails_has_ended(systemd):
    now = [0.0]
    watchdog = Watchdog(systemd[0], lambda: now[0])
    with contextlib.suppress(OSError), watchdog.step("an append has not ended"):
        raise OSError
    now[0] = 1_000.0
    assert watchdog.stalled() == ""


def test_signs_of_life_come_several_times_in_a_period(systemd):
    environment, told = systemd

    async def run():
        running = asyncio.create_task(Watchdog(environment | {"WATCHDOG_USEC": "3000"}).run())
        found = []
        async with asyncio.timeout(60.0):
            while len(found) < 3:
                await asyncio.sleep(0.001)
                found += told()
        running.cancel()
        return found

    assert set(asyncio.run(run())) == {"WATCHDOG=1"}
    assert Watchdog(environment).period_s == 30.0


def test_a_watchdog_that_is_meant_for_another_process_is_not_ours(systemd):
    assert Watchdog(systemd[0] | {"WATCHDOG_PID": "1"}).period_s == 0.0


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nothing/there"}, {"WATCHDOG_USEC": "soon"}])
def test_without_systemd_it_does_nothing(environment):
    watchdog = Watchdog(environment)
    watchdog.ready()
    watchdog.alive()
    watchdog.stopping()
    assert watchdog.period_s == 0.0
