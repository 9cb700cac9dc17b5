from __future__ import annotations

import asyncio

import pytest

from producers.nvml.source import Nvml
from producers.source import Observed
from schemas import records
from tests.producers.nvml import double
from tests.producers.nvml.double import Error
from tests.producers.nvml.sources import A, B, of, told, until, with_source

pytestmark = pytest.mark.usefixtures("machine")


def test_an_xid_is_told_at_once_with_who_it_happened_to() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        reading = asyncio.create_task(one.read())
        await asyncio.sleep(0)
        nvml.xid(0, 79)
        nvml.xid(1, 94, gi=3, ci=0)
        said = await asyncio.wait_for(reading, 10.0)
        return said if len(of(records.KernelFault, said)) > 1 else said + await until(one, "kernel")

    faults = of(records.KernelFault, with_source(nvml, use))
    assert [(one.fault, one.code, one.uuid, one.bdf, one.gi, one.ci, one.source) for one in faults] == [
        ("xid", 79, A, "0000:1a:00", None, None, "nvml"),
        ("xid", 94, B, "0000:1b:00", 3, 0, "nvml"),
    ]
    assert all(one.ts > 1_760_000_000_000 for one in faults)


def test_an_xid_does_not_wait_for_a_sample() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "inventory")
        nvml.xid(0, 31)
        return await until(one, "kernel")

    (fault,) = of(records.KernelFault, with_source(nvml, use, interval_s=3600.0))
    assert fault.code == 31
    assert nvml.calls["nvmlDeviceGetPowerUsage"] == 2  # of each GPU one sample


def test_a_lost_gpu_does_not_silence_the_xids_of_the_others() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        nvml.gpus[0].lost = 15
        while nvml.calls["nvmlEventSetCreate"] < 2:  # what happens before this one is registered in is not told
            await one.read()
        said: list[Observed] = []
        while not of(records.KernelFault, said):
            nvml.xid(1, 48)
            said = await one.read()
        return said

    fault, *_ = of(records.KernelFault, with_source(nvml, use))
    assert (fault.uuid, fault.code) == (B, 48)


def test_a_gpu_that_is_back_tells_its_xids_again() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        nvml.gpus[0].lost = 15
        while nvml.calls["nvmlDeviceRegisterEvents"] < 4:  # the lost one could not be registered again
            await one.read()
        nvml.gpus[0].lost = 0
        said: list[Observed] = []
        while not of(records.KernelFault, said):
            nvml.xid(0, 31)
            said = await one.read()
        return said

    fault, *_ = of(records.KernelFault, with_source(nvml, use))
    assert (fault.uuid, fault.code) == (A, 31)


def test_where_nvml_tells_no_xids_it_is_said_and_all_else_is_well() -> None:
    nvml = double.Nvml()
    nvml.gpus[1].told["RegisterEvents"] = Error(3)

    async def use(one: Nvml) -> records.SourceStatus:
        return await told(one, records.SourceStatus, lambda status: True)

    status = with_source(nvml, use)
    assert status.state == "ok"
    assert status.detail == "no Xids are told of 0000:1b:00; read the kernel's log too (source kmsg)"


def test_waits_that_return_at_once_do_not_become_a_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.source.XIDS_PAUSE_S", 3600.0)
    monkeypatch.setattr("producers.nvml.source.XIDS_WAIT_MS", 60_000)
    nvml = double.Nvml()
    nvml.impatient = True
    with_source(nvml, lambda one: until(one, "telemetry", 2))
    assert nvml.calls["nvmlEventSetWait_v2"] <= 2  # at opening, and once
