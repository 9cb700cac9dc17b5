from __future__ import annotations

import asyncio
from typing import Any

from producers.dcgm.health import Health, Incident
from tests.producers.dcgm.agent import running

A, B = "GPU-0", "GPU-1"
MEMORY, NVLINK, XIDS = 0x10, 0x2, 0xFFFFFFFF
WARN, FAIL = 10, 20


def incident(health: str = "warn", code: int = 7, message: str = "") -> Incident:
    return Incident((1, 0), "memory", code, health, message)


def test_an_incident_is_told_when_it_begins_and_when_it_is_over() -> None:
    health = Health()
    assert health.news([]) == []
    assert health.news([incident()]) == [incident()]
    assert health.news([incident(message="another number in the text")]) == []
    assert health.news([]) == [incident("pass")]
    assert health.news([]) == []


def test_one_that_gets_worse_is_told_again() -> None:
    health = Health()
    health.news([])
    health.news([incident()])
    assert health.news([incident("fail")]) == [incident("fail")]


def test_two_incidents_of_one_gpu_are_told_apart_by_their_codes() -> None:
    health = Health()
    health.news([])
    health.news([incident(code=1), incident(code=2)])
    assert health.news([incident(code=2)]) == [incident("pass", code=1)]


def test_the_first_check_after_a_connection_ends_nothing() -> None:
    """An engine says nothing yet at the first one."""
    health = Health()
    health.news([])
    health.news([incident()])
    health.connected()
    assert health.news([]) == []
    assert health.news([incident()]) == []
    assert health.news([]) == [incident("pass")]


def test_incidents_are_told_with_the_gpu_that_the_engine_means(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.incidents = [
                ((1, 1), MEMORY, WARN, 5, "GPU 864003248 had uncorrectable memory errors"),
                ((1, 0), XIDS, FAIL, 95, b"\xff\x00 no text"),
                ((3, 2), NVLINK, FAIL, 8, "a switch"),
            ]
            await log.until(lambda: len(log.all("health")) == 3)
            engine.incidents = []
            await log.until(lambda: len(log.all("health")) == 6)
            told = [(each.uuid, each.bdf, each.system, each.health, each.code) for each in log.all("health")]
            assert told == [
                (B, "0000:2b:00", "memory", "warn", 5),
                (A, "0000:1b:00", "all", "fail", 95),
                ("", "", "nvlink", "fail", 8),
                (B, "0000:2b:00", "memory", "pass", 5),
                (A, "0000:1b:00", "all", "pass", 95),
                ("", "", "nvlink", "pass", 8),
            ]

    asyncio.run(script())


def test_an_incident_outlasts_a_lost_connection(double: Any) -> None:
    engine = double.HostEngine()
    standing = [((1, 1), MEMORY, WARN, 5, "remapped")]

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.incidents = standing
            await log.until(lambda: log.all("health"))
            engine.restart().incidents = standing
            await log.until(lambda: log.states() == ["ok", "failing", "ok"])
            await log.rounds(3)
            assert len(log.all("health")) == 1

    asyncio.run(script())


def test_an_incident_of_a_mig_instance_names_the_instance(double: Any) -> None:
    engine = double.HostEngine()
    engine.instances = [((4, 7), (1, 1), 2, 0xFFFFFFFF)]

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.incidents = [((4, 7), MEMORY, WARN, 5, "")]
            await log.until(lambda: log.all("health"))
            (told,) = log.all("health")
            assert (told.uuid, told.gi, told.ci) == (B, 2, None)

    asyncio.run(script())


def test_an_engine_without_health_watches_is_read_all_the_same(double: Any) -> None:
    engine = double.HostEngine()
    engine.refused = {"health_set": -33}

    async def script() -> None:
        async with running() as log:
            await log.until(lambda: log.state()[1])
            await log.rounds(2)
            state, detail = log.state()
            assert state == "ok"
            assert detail.startswith("no health watches: host engine at 127.0.0.1:5555: cannot set the health watches")

    asyncio.run(script())
