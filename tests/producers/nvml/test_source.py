from __future__ import annotations

from pathlib import Path

import pytest

from producers.kit import check_source
from producers.nvml.source import Nvml
from producers.source import Observed
from schemas import fields, frames, records
from tests.producers.nvml import double
from tests.producers.nvml.conftest import BOOT
from tests.producers.nvml.double import Error
from tests.producers.nvml.sources import A, B, Clock, of, source, ticks, told, until, with_source

pytestmark = pytest.mark.usefixtures("machine")


def test_it_keeps_the_contract_of_a_source() -> None:
    assert {one.kind for one in check_source(lambda: source(double.Nvml()), reads=3)} == {
        "inventory",
        "links",
        "telemetry",
    }


def test_the_first_sample_says_who_the_gpus_are(machine: Path) -> None:
    nvml = double.Nvml()
    nvml.gpus[1].mig = 1
    nvml.gpus[0].remote = {0: "00000000:1B:00.0", 3: "00000000:1B:00.0", 4: "00000000:C3:00.0"}  # the last: a switch
    (inventory,) = of(records.Inventory, with_source(nvml, lambda one: until(one, "inventory")))
    name = "NVIDIA H100 80GB HBM3"
    assert inventory.gpus == [
        records.GpuInfo(uuid=A, bdf="0000:1a:00", model=name, serial="1600000000", peers={B: 2}),
        records.GpuInfo(uuid=B, bdf="0000:1b:00", model=name, serial="1600000001", mig=True),
    ]
    load = f"module-{(machine / 'nvidia').stat().st_ino}"
    assert (inventory.node, inventory.driver, inventory.boot, inventory.driver_load) == ("n", "580.82.07", BOOT, load)
    assert inventory.ts > 1_760_000_000_000


def test_the_inventory_is_told_when_it_changes_and_not_before() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> tuple[list[Observed], list[Observed]]:
        first = await until(one, "telemetry", 3)
        nvml.gpus[0].mig = 1
        return first, await until(one, "inventory")

    first, then = with_source(nvml, use)
    assert [[gpu.mig for gpu in one.gpus] for one in of(records.Inventory, first)] == [[False, False]]
    assert [[gpu.mig for gpu in one.gpus] for one in of(records.Inventory, then)] == [[True, False]]


def test_samples_come_as_frames_of_five_seconds_in_dcgms_units() -> None:
    said = with_source(double.Nvml(), lambda one: until(one, "telemetry", 2))
    sampled = list(ticks(said))
    assert len(sampled) == 10
    for sample in sampled:
        assert sample[A] == sample[B]
        assert sample[A][fields.POWER] == pytest.approx(350.123)
        assert sample[A][fields.POWER_VIOLATION] == 5e9
        assert fields.RETIRED_DBE not in sample[A]


def test_what_changes_rarely_is_asked_rarely_and_in_each_sample() -> None:
    nvml = double.Nvml(1)
    sampled = list(ticks(with_source(nvml, lambda one: until(one, "telemetry", 4))))
    assert [(sample[A][fields.GPU_TEMP_MARGIN], sample[A][fields.MAX_SM_CLOCK]) for sample in sampled] == [
        (46.0, 1980.0)
    ] * 20
    assert nvml.calls["nvmlDeviceGetMaxClockInfo"] <= 2
    assert nvml.calls["nvmlDeviceGetMarginTemperature"] <= 6
    assert nvml.calls["nvmlDeviceGetPowerUsage"] >= 20


def test_opened_anew_it_asks_for_everything_at_once() -> None:
    nvml = double.Nvml(1)

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        nvml.gpus[0].told |= {"MaxClockInfo": {1: 1755, 2: 2619}, "EnforcedPowerLimit": 500_000, "Fabric": (2, 0)}
        nvml.gpus[0].values |= {74: (double.ULL, 9), 142: (double.ULL, 9), (163, 17): (double.ULL, 9)}
        await one.open(None)
        one._sampler.flush()  # what was sampled before
        return await until(one, "telemetry")

    first, *_ = ticks(with_source(nvml, use))
    assert first[A].items() >= {
        (fields.MAX_SM_CLOCK, 1755),
        (fields.POWER_LIMIT, 500),
        (fields.FABRIC_MANAGER_STATUS, 2),
        (fields.POWER_VIOLATION, 9),
        (fields.REMAPPED_CORRECTABLE, 9),
        (fields.NVLINK_CRC_FLIT[17], 9),
    }


def test_a_counter_of_faults_that_moves_is_told_at_once() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        nvml.gpus[1].values[4] = (double.ULL, 1)
        return await until(one, "telemetry")

    (*_, last) = ticks(with_source(nvml, use))
    assert (last[A][fields.ECC_DBE_VOLATILE], last[B][fields.ECC_DBE_VOLATILE]) == (0, 1)


def test_links_are_told_when_they_change() -> None:
    nvml = double.Nvml()
    nvml.gpus[1].values[91] = (double.UINT, 0)

    async def use(one: Nvml) -> tuple[list[Observed], records.LinkStatus]:
        first = await until(one, "telemetry", 2)
        nvml.gpus[0].values |= {(165, 4): (double.UINT, 0), (165, 5): (double.UINT, 2), (165, 6): (double.UINT, 3)}
        return first, await told(one, records.LinkStatus, lambda links: links.uuid == A)

    first, then = with_source(nvml, use)
    assert [(one.uuid, one.bdf, one.links) for one in of(records.LinkStatus, first)] == [(A, "0000:1a:00", ["up"] * 18)]
    assert then.links == [*["up"] * 4, "down", "up", "disabled", *["up"] * 11]


def test_what_is_not_supported_is_asked_again_after_it_was_opened_anew() -> None:
    nvml = double.Nvml(1)
    nvml.gpus[0].told["MarginTemperature"] = Error(3)

    async def use(one: Nvml) -> tuple[list[Observed], list[Observed]]:
        before = await until(one, "telemetry", 2)
        nvml.gpus[0].told["MarginTemperature"] = 46
        await one.open(None)
        return before, await until(one, "telemetry", 2)

    before, after = with_source(nvml, use)
    assert all(fields.GPU_TEMP_MARGIN not in sample[A] for sample in ticks(before))
    assert list(ticks(after))[-1][A][fields.GPU_TEMP_MARGIN] == 46


def test_a_gpu_that_the_driver_takes_up_later_is_found(machine: Path) -> None:
    nvml = double.Nvml(1)

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        more = double.Nvml(2)
        nvml.gpus, nvml._devices = more.gpus, more._devices
        (machine / "gpus" / "0000:1c:00.0").mkdir()
        return await until(one, "inventory")

    (inventory,) = of(records.Inventory, with_source(nvml, use))
    assert [gpu.uuid for gpu in inventory.gpus] == [A, B]


def test_a_clock_that_steps_back_does_not_stop_it() -> None:
    clock = Clock()

    async def use(one: Nvml) -> list[Observed]:
        said = await until(one, "telemetry")
        clock.ms -= 3_600_000
        return said + await until(one, "telemetry", 2)

    said = with_source(double.Nvml(), use, now=clock)
    starts = [frames.decode(one.value).ticks[0] for one in said if one.kind == "telemetry"]
    assert starts[-1] < starts[0]
