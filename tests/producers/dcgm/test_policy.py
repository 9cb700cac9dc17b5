from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from producers.dcgm import policy
from tests.producers.dcgm.agent import running

A, B = "GPU-0", "GPU-1"
DBE, PCI, THERMAL, NVLINK, XID = 0x1, 0x2, 0x8, 0x20, 0x40


def test_a_violation_is_told_with_what_the_engine_tells_of_it(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.violate(1, XID, errnum=79, timestamp=1_700_000_000_123_456)
            engine.violate(0, DBE, numerrors=2, location=2, timestamp=1_700_000_000_200_000)
            await log.until(lambda: len(log.all("violation")) == 2)
            await log.rounds(2)
            told = [(each.uuid, each.bdf, each.ts, each.condition, each.value) for each in log.all("violation")]
            assert told == [
                (B, "0000:2b:00", 1_700_000_000_123, "xid", {"errnum": 79}),
                (A, "0000:1b:00", 1_700_000_000_200, "dbe", {"location": 2, "numerrors": 2}),
            ]

    asyncio.run(script())


def test_dcgm_3_calls_back_without_naming_the_gpu(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import dcgm_agent
    import dcgm_structs

    monkeypatch.setattr(dcgm_agent, "dcgmPolicyRegister", dcgm_agent.dcgmPolicyRegister_v2, raising=False)
    monkeypatch.delattr(dcgm_agent, "dcgmPolicyRegister_v2")
    monkeypatch.delattr(dcgm_structs, "c_dcgmPolicyCallbackResponse_v2")
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.violate(1, NVLINK, fieldId=409, counter=12, timestamp=5_000)
            await log.until(lambda: log.all("violation"))
            (told,) = log.all("violation")
            assert (told.uuid, told.condition, told.value) == (B, "nvlink", {"fieldId": 409, "counter": 12})

    asyncio.run(script())


def test_what_others_have_set_stays_and_is_told_too(double: Any) -> None:
    import dcgm_structs

    engine = double.HostEngine()
    theirs = engine.policies[0] = dcgm_structs.c_dcgmPolicy_v1()
    theirs.condition = THERMAL | 0x4
    theirs.parms[3].val.llval = 83
    theirs.parms[2].val.llval = 5

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            assert engine.policies[0].parms[3].val.llval == 83
            assert engine.policies[0].parms[2].val.llval == 5
            assert engine.policies[0].condition & (DBE | PCI | XID) == DBE | PCI | XID
            assert not engine.policies[1].condition & THERMAL
            engine.violate(0, THERMAL, thermalViolation=90)
            await log.until(lambda: log.all("violation"))
            assert log.all("violation")[0].value == {"thermalViolation": 90}

    asyncio.run(script())


def test_a_flood_is_bounded_and_its_loss_counted(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = double.HostEngine()
    monkeypatch.setattr(policy, "HELD_MAX", 3)

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            engine.hang()  # nobody takes them
            for _ in range(10):
                engine.violate(0, PCI, counter=1)
            engine.resume()
            await log.until(lambda: any(each.lost for each in log.all("source")))
            told, lost = len(log.all("violation")), sum(each.lost for each in log.all("source"))
            assert told + lost == 10
            assert told < 10

    asyncio.run(script())


def test_after_a_restart_of_the_engine_violations_are_told_once(double: Any) -> None:
    engine = double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)
            restarted = engine.restart()
            await log.until(lambda: log.states() == ["ok", "failing", "ok"])
            restarted.violate(0, XID, errnum=31)
            await log.until(lambda: log.all("violation"))
            await log.rounds(2)
            assert len(log.all("violation")) == 1

    asyncio.run(script())


def test_the_bindings_objects_are_not_used(double: Any) -> None:
    """They call the engine when they are collected, in whatever thread that happens."""
    double.HostEngine()

    async def script() -> None:
        async with running() as log:
            await log.rounds(2)

    asyncio.run(script())
    assert "dcgm_agent" in sys.modules
    assert "pydcgm" not in sys.modules
