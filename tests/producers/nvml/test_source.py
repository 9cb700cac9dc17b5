from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from producers.kit import check_source
from producers.numbering import Numbering
from producers.nvml import library
from producers.nvml.source import Nvml
from producers.source import Observed, SourceError
from producers.supervisor import supervise
from schemas import fields, frames, records
from tests.producers.nvml import double
from tests.producers.nvml.double import Error

T = TypeVar("T")

A, B = "GPU-00000000", "GPU-00000001"
BOOT = "5bd4bd5a-0000-4000-8000-000000000001"
LOST = "GPU 0000:1a:00 GPU-00000000: gpu is lost (nvml error 15); see the kernel log for Xid 79; reboot the node"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the kernel shows of the driver, and short waits."""
    gpus = tmp_path / "gpus"
    for bus in ("0000:1a:00.0", "0000:1b:00.0"):
        (gpus / bus).mkdir(parents=True)
    (tmp_path / "boot_id").write_text(BOOT + "\n")
    (tmp_path / "nvidia").mkdir()
    monkeypatch.setattr("producers.driver.GPUS", gpus)
    monkeypatch.setattr("producers.driver.BOOT_ID", tmp_path / "boot_id")
    monkeypatch.setattr("producers.driver.MODULE", tmp_path / "nvidia")
    monkeypatch.setattr("producers.nvml.session.SLOW_S", 0.0)
    monkeypatch.setattr("producers.nvml.session.CHECK_S", 0.0)
    monkeypatch.setattr("producers.nvml.source.XIDS_WAIT_MS", 20)
    monkeypatch.setattr("producers.nvml.source.XIDS_PAUSE_S", 0.01)
    return tmp_path


class Clock:
    """A second passes each time it is asked."""

    def __init__(self) -> None:
        self.ms = 1_760_000_000_000

    def __call__(self) -> int:
        self.ms += 1000
        return self.ms


def source(nvml: double.Nvml, **options: Any) -> Nvml:
    return Nvml(**{"node": "n", "interval_s": 0.005, "load": lambda: nvml, "now": Clock()} | options)


def with_source(nvml: double.Nvml, use: Callable[[Nvml], Awaitable[T]], **options: Any) -> T:
    """What `use` makes of a source that was opened; it is closed afterwards, and has let go of the driver."""

    async def run() -> T:
        one = source(nvml, **options)
        await one.open(None)
        try:
            return await use(one)
        finally:
            nvml.answer()
            await one.close()
            await one.close()
            assert (nvml.opened, nvml.sets) == (0, 0)

    return asyncio.run(run())


async def until(one: Nvml, kind: str, number: int = 1) -> list[Observed]:
    """All that it says until `number` of this kind were among it."""
    said: list[Observed] = []
    while sum(observed.kind == kind for observed in said) < number:
        said += await asyncio.wait_for(one.read(), 10.0)
    return said


async def told(one: Nvml, record: type[T], true: Callable[[T], bool]) -> T:
    """The first of such records of which it is true."""
    while True:
        for found in of(record, await asyncio.wait_for(one.read(), 10.0)):
            if true(found):
                return found


def of(record: type[T], said: Sequence[Observed]) -> list[T]:
    kind = {
        records.Inventory: "inventory",
        records.LinkStatus: "links",
        records.KernelFault: "kernel",
        records.SourceStatus: "source",
    }[record]  # type: ignore[index]
    return [msgspec.json.decode(one.value, type=record) for one in said if one.kind == kind]


def ticks(said: Sequence[Observed]) -> Iterator[dict[str, dict[int, float]]]:
    """Each sample: the values by UUID and field, without those that are blank."""
    for frame in (frames.decode(one.value) for one in said if one.kind == frames.KIND):
        columns = dict(frame.columns())
        for tick in range(len(frame.ticks)):
            yield {
                gpu.uuid: {
                    field: value
                    for field, column in columns.items()
                    if (value := column[tick * len(frame.gpus) + at]) == value
                }
                for at, gpu in enumerate(frame.gpus)
            }


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


def test_what_is_dear_to_read_is_read_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.session.SLOW_S", 3600.0)
    nvml = double.Nvml(1)
    sampled = list(ticks(with_source(nvml, lambda one: until(one, "telemetry", 2))))
    assert [sample[A][fields.GPU_TEMP_MARGIN] for sample in sampled] == [46.0] * 10
    assert (nvml.calls["nvmlDeviceGetMarginTemperature"], nvml.calls["nvmlDeviceGetMaxClockInfo"]) == (1, 1)
    assert nvml.calls["nvmlDeviceGetPowerUsage"] >= 10


def test_a_lost_gpu_does_not_keep_what_was_read_of_it_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.session.SLOW_S", 3600.0)
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        nvml.gpus[0].lost = 15
        return await until(one, "telemetry")

    assert list(ticks(with_source(nvml, use)))[-1][A] == {}


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


def test_a_lost_gpu_is_blank_and_named_and_the_others_go_on() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> tuple[records.SourceStatus, list[Observed], records.SourceStatus]:
        await until(one, "telemetry")
        nvml.gpus[0].lost = 15
        status = await told(one, records.SourceStatus, lambda status: status.state == "failing")
        during = await until(one, "telemetry", 2)
        nvml.gpus[0].lost = 0
        return status, during, await told(one, records.SourceStatus, lambda status: status.state == "ok")

    status, during, after = with_source(nvml, use)
    assert status.detail.startswith(LOST)
    assert status.cause == "lost"
    assert not of(records.Inventory, during)
    (*_, last) = ticks(during)
    assert last[A] == {}
    assert last[B][fields.GPU_TEMP] == 41
    assert after.detail == ""


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


def test_a_hung_driver_is_told_after_what_was_sampled_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.source.HUNG_S", 0.1)
    monkeypatch.setattr("producers.nvml.source.STOP_S", 0.2)
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        while not one._sampler._ticks:  # some samples are held
            one._ask(one._session, asyncio.get_running_loop().time())  # type: ignore[arg-type]
            await one._wait(0.01)
            assert one._answers(one._session, 0.0) == []  # type: ignore[arg-type]
        nvml.hang()
        held = await until(one, "telemetry")
        with pytest.raises(SourceError, match=r"the driver has not answered for 0.1 s; see the kernel log"):
            await one.read()
        await one.close()
        with pytest.raises(SourceError, match="an earlier call has not come back yet"):
            await one.open(None)
        nvml.answer()
        while True:
            try:
                await one.open(None)
                break
            except SourceError:
                await asyncio.sleep(0.01)
        return held + await until(one, "telemetry")

    held, after = (frames.decode(one.value) for one in with_source(nvml, use) if one.kind == "telemetry")
    assert after.ticks[0] > held.ticks[-1]


def test_when_the_driver_goes_all_that_was_there_before_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.source.WAIT_S", 0.01)
    nvml = double.Nvml(1)

    async def use(one: Nvml) -> tuple[list[Observed], str, int]:
        said: list[Observed] = []
        while len(one._sampler._ticks) != 2:
            said += await one.read()
        before = len(list(ticks(said)))
        nvml.xid(0, 79)
        while not one._xids:
            await asyncio.sleep(0.001)
        nvml.opened = 0
        while True:
            try:
                said += await one.read()
            except SourceError as error:
                why = str(error)
                break
        await one.close()
        nvml.sets = 0  # it went with the driver
        return said, why, before

    said, why, before = with_source(nvml, use)
    assert why == "nvml: uninitialized (nvml error 1)"
    assert [fault.code for fault in of(records.KernelFault, said)] == [79]
    assert len(list(ticks(said))) >= before + 2


def test_under_the_supervisor_it_comes_back_from_a_hang_and_from_a_driver_that_went(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producers.nvml.source.HUNG_S", 0.05)
    monkeypatch.setattr("producers.nvml.source.STOP_S", 0.2)
    monkeypatch.setattr("producers.supervisor.BACKOFF_S", 0.01)
    nvml = double.Nvml()
    said: list[Observed] = []

    def states() -> list[str]:
        return [one.state for one in of(records.SourceStatus, said)]

    async def append(entries: Sequence[Observed], **_: object) -> None:
        said.extend(entries)

    async def eventually(true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20.0):
            while not true():
                await asyncio.sleep(0.01)

    async def run() -> None:
        running = asyncio.create_task(supervise(source(nvml), append, position=None, numbering=Numbering(1), node="n"))
        await eventually(lambda: any(one.kind == "telemetry" for one in said))
        nvml.hang()
        await eventually(lambda: states() == ["ok", "failing"])
        nvml.answer()
        await eventually(lambda: states() == ["ok", "failing", "ok"])
        nvml.opened, nvml.opening = 0, 9  # the driver is unloaded
        await eventually(lambda: of(records.SourceStatus, said)[-1].cause == "driver")
        nvml.opening = 0
        await eventually(lambda: states()[-1] == "ok")
        assert [one for one, _ in groupby(states()[2:])] == ["ok", "failing", "ok"]
        assert of(records.SourceStatus, said)[1].cause == "hung"
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(run())
    assert "the driver has not answered" in of(records.SourceStatus, said)[1].detail


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


def test_a_gpu_that_cannot_be_opened_any_more_stays_blank_in_its_place() -> None:
    nvml = double.Nvml()
    for gpu in nvml.gpus:
        gpu.told["RegisterEvents"] = Error(3)  # there is nothing to be said of Xids

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        nvml.gpus[0].lost = 15
        await told(one, records.SourceStatus, lambda status: status.detail == LOST)
        await one.open(None)
        return await until(one, "telemetry", 3)

    said = with_source(nvml, use)
    (*_, last) = ticks(said)
    assert last[A] == {}
    assert last[B][fields.GPU_TEMP] == 41
    assert [status.detail for status in of(records.SourceStatus, said)] == [LOST]  # told anew


@pytest.mark.parametrize(
    ("information", "uuid"),
    [
        ("", ""),
        ("Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-????????-????-????-????-????????????\n", ""),
        (
            "Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-bc71988b-05b9-0e0f-d228-b753ab0a76be\n",
            "GPU-bc71988b-05b9-0e0f-d228-b753ab0a76be",
        ),
    ],
)
def test_a_gpu_that_was_lost_before_is_known_as_far_as_the_driver_shows_it(
    machine: Path, information: str, uuid: str
) -> None:
    nvml = double.Nvml()
    nvml.gpus[0].lost = 15
    (machine / "gpus" / "0000:1a:00.0" / "information").write_text(information)
    said = with_source(nvml, lambda one: until(one, "telemetry"))
    (inventory,) = of(records.Inventory, said)
    assert [(gpu.uuid, gpu.bdf) for gpu in inventory.gpus] == [(uuid, "0000:1a:00"), (B, "0000:1b:00")]
    (status,) = of(records.SourceStatus, said)
    assert status.detail.startswith(f"GPU 0000:1a:00 {uuid}".strip() + ": gpu is lost")


def test_a_lost_gpu_nobody_knows_is_counted(machine: Path) -> None:
    nvml = double.Nvml()
    nvml.gpus[0].lost = 15
    (machine / "gpus" / "0000:1a:00.0").rmdir()
    (status,) = of(records.SourceStatus, with_source(nvml, lambda one: until(one, "telemetry")))
    assert status.detail.startswith("1 more GPUs cannot be opened")


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


def test_a_lost_gpu_is_looked_for_anew_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.session.RENEW_S", 0.0)
    nvml = double.Nvml()

    async def use(one: Nvml) -> records.SourceStatus:
        await until(one, "telemetry")
        nvml.gpus[0].lost, opened = 15, nvml.calls["nvmlInit"]
        while nvml.calls["nvmlInit"] == opened:
            await one.read()
        nvml.gpus[0].lost = 0
        return await told(one, records.SourceStatus, lambda status: status.state == "ok")

    assert with_source(nvml, use).detail == ""


def test_a_lost_gpu_does_not_make_it_open_the_driver_again_and_again() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> None:
        nvml.gpus[0].lost = 15
        await until(one, "telemetry", 3)

    with_source(nvml, use)
    assert nvml.calls["nvmlInit"] == 1


def test_a_clock_that_steps_back_does_not_stop_it() -> None:
    clock = Clock()

    async def use(one: Nvml) -> list[Observed]:
        said = await until(one, "telemetry")
        clock.ms -= 3_600_000
        return said + await until(one, "telemetry", 2)

    said = with_source(double.Nvml(), use, now=clock)
    starts = [frames.decode(one.value).ticks[0] for one in said if one.kind == "telemetry"]
    assert starts[-1] < starts[0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (12, "libnvidia-ml.so.1 is not on this machine; install the driver's libnvidia-compute package"),
        (9, r"cannot be opened: driver not loaded \(nvml error 9\); load the driver \(modprobe nvidia\)"),
        (18, r"version mismatch \(nvml error 18\); the driver was updated while it was loaded: reload it"),
        (999, r"unknown error \(nvml error 999\); see the kernel log; in a container"),
    ],
)
def test_a_driver_that_cannot_be_opened_is_told_with_its_mending(code: int, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        asyncio.run(source(double.Nvml(opening=code)).open(None))


def test_without_the_bindings_it_is_said_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MODULE", "pynvml_that_is_not_here")
    words = r"nvml: the package nvidia-ml-py is not installed; pip install 'gpu-vitals\[nvml\]'"
    with pytest.raises(SourceError, match=words):
        asyncio.run(Nvml().open(None))


def test_bindings_that_are_too_old_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MODULE", "types")
    with pytest.raises(SourceError, match="the module types is of an older package than nvidia-ml-py 12; pip install"):
        asyncio.run(Nvml().open(None))


def test_waits_that_return_at_once_do_not_become_a_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.source.XIDS_PAUSE_S", 3600.0)
    monkeypatch.setattr("producers.nvml.source.XIDS_WAIT_MS", 60_000)
    nvml = double.Nvml()
    nvml.impatient = True
    with_source(nvml, lambda one: until(one, "telemetry", 2))
    assert nvml.calls["nvmlEventSetWait_v2"] <= 2  # at opening, and once


def test_a_machine_whose_driver_has_no_gpu_says_so() -> None:
    nvml = double.Nvml(0)
    with pytest.raises(SourceError, match="nvml: the driver shows no GPU"):
        asyncio.run(source(nvml).open(None))
    assert nvml.opened == 0


def test_a_source_that_is_not_open_cannot_be_read() -> None:
    with pytest.raises(SourceError, match="not open"):
        asyncio.run(source(double.Nvml()).read())
