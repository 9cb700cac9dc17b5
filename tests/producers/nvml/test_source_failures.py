from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import pytest

from producers.numbering import Numbering
from producers.nvml import library
from producers.nvml.source import Nvml
from producers.source import Observed, SourceError
from producers.supervisor import supervise
from schemas import fields, frames, records
from tests.producers.nvml import double
from tests.producers.nvml.double import Error
from tests.producers.nvml.sources import A, B, of, source, ticks, told, until, with_source

pytestmark = pytest.mark.usefixtures("machine")
LOST = "GPU 0000:1a:00 GPU-00000000: gpu is lost (nvml error 15); see the kernel log for Xid 79; reboot the node"


def test_a_lost_gpu_does_not_keep_what_was_read_of_it_before() -> None:
    nvml = double.Nvml()

    async def use(one: Nvml) -> list[Observed]:
        await until(one, "telemetry")
        nvml.gpus[0].lost = 15
        return await until(one, "telemetry")

    assert list(ticks(with_source(nvml, use)))[-1][A] == {}


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


def test_a_hung_driver_is_told_after_what_was_sampled_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.nvml.source.HUNG_S", 1.0)
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
        with pytest.raises(SourceError, match=r"the driver has not answered for 1 s; see the kernel log"):
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
    monkeypatch.setattr("producers.nvml.source.HUNG_S", 1.0)
    monkeypatch.setattr("producers.nvml.source.STOP_S", 0.2)
    monkeypatch.setattr("producers.supervisor.BACKOFF_S", 0.01)
    nvml = double.Nvml()
    said: list[Observed] = []

    def states() -> list[str]:
        return [one.state for one in of(records.SourceStatus, said)]

    async def append(entries: Sequence[Observed], **_: object) -> None:
        said.extend(entries)

    async def eventually(true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60.0):
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


def test_a_machine_whose_driver_has_no_gpu_says_so() -> None:
    nvml = double.Nvml(0)
    with pytest.raises(SourceError, match="nvml: the driver shows no GPU"):
        asyncio.run(source(nvml).open(None))
    assert nvml.opened == 0


def test_a_source_that_is_not_open_cannot_be_read() -> None:
    with pytest.raises(SourceError, match="not open"):
        asyncio.run(source(double.Nvml()).read())
