from __future__ import annotations

from producers.nvml.device import Device
from producers.nvml.inventory import identify
from producers.watched import WATCHED
from schemas import fields
from tests.producers.nvml.double import UINT, Error, Nvml


def device(nvml: Nvml) -> Device:
    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    one = Device(nvml, identify(nvml, handle), handle, WATCHED)
    one.read_slow()
    return one


def test_a_gpu_whose_every_value_fails_is_wholly_blank_and_says_why() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    gpu = nvml.gpus[0]
    told, values = gpu.told, gpu.values
    one.read()
    gpu.told, gpu.values = {name: Error(999) for name in told}, dict.fromkeys(values, Error(999))
    assert one.read() == {}
    assert one.trouble.startswith("unknown error (nvml error 999); see the kernel log")
    gpu.told, gpu.values = told, values
    assert one.read()[fields.GPU_TEMP_MARGIN] == 46
    assert one.trouble == ""


def test_one_value_that_fails_is_a_blank_and_no_trouble() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    nvml.gpus[0].told["PowerUsage"] = Error(999)
    assert one.read()[fields.POWER] is None
    assert one.trouble == ""


def test_what_could_not_be_read_anew_is_not_repeated() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    nvml.gpus[0].lost = 15
    one.read_slow()
    nvml.gpus[0].lost = 0
    assert fields.GPU_TEMP_MARGIN not in one.read()
    one.read_slow()
    assert one.read()[fields.GPU_TEMP_MARGIN] == 46


def test_links_stay_as_they_were_while_one_is_not_told() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    before = list(one.links)
    nvml.gpus[0].values |= {(165, 3): Error(999), (165, 4): (UINT, 0)}
    one.read_slow()
    assert one.links == before == ["up"] * 18
    nvml.gpus[0].values[165, 3] = (UINT, 1)
    one.read_slow()
    assert one.links == [*["up"] * 4, "down", *["up"] * 13]


def test_links_that_are_not_there_are_not_listed() -> None:
    nvml = Nvml(1)
    for link in (3, *range(12, 18)):
        nvml.gpus[0].values[165, link] = Error(3)
    assert device(nvml).links == [*["up"] * 3, "unsupported", *["up"] * 8]
