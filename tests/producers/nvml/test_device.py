from __future__ import annotations

import pytest

from producers.nvml.device import Device
from producers.nvml.inventory import identify
from producers.watched import WATCHED
from schemas import fields
from tests.producers.nvml.double import UINT, Error, Nvml


def device(nvml: Nvml, turn: int = 0) -> Device:
    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    return Device(nvml, identify(nvml, handle), handle, WATCHED, turn=turn)


def test_a_gpu_whose_every_value_fails_is_wholly_blank_at_once_and_says_why() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    gpu = nvml.gpus[0]
    told, values = gpu.told, gpu.values
    assert one.read(0.0)[fields.MAX_SM_CLOCK] == 1980
    gpu.told, gpu.values = {name: Error(999) for name in told}, dict.fromkeys(values, Error(999))
    assert set(one.read(1.0).values()) == {None}
    assert one.trouble.startswith("unknown error (nvml error 999); see the kernel log")
    gpu.told, gpu.values = told, values
    assert one.read(2.0)[fields.MAX_SM_CLOCK] == 1980
    assert one.trouble == ""


def test_one_value_that_fails_is_a_blank_and_no_trouble() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    nvml.gpus[0].told["PowerUsage"] = Error(999)
    assert one.read(0.0)[fields.POWER] is None
    assert one.trouble == ""


def test_a_lost_gpu_is_blank_at_once_and_all_is_asked_anew_when_it_is_back() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    one.read(0.0)
    nvml.gpus[0].lost = 15
    assert one.read(1.0) == {}
    assert one.trouble.startswith("gpu is lost")
    nvml.gpus[0].lost = 0
    nvml.gpus[0].told |= {"MaxClockInfo": {1: 1755, 2: 2619}, "MarginTemperature": 40}
    values = one.read(2.0)
    assert (values[fields.MAX_SM_CLOCK], values[fields.GPU_TEMP_MARGIN]) == (1755, 40)
    assert one.trouble == ""


def test_links_stay_as_they_were_while_one_is_not_told() -> None:
    nvml = Nvml(1)
    one = device(nvml)
    one.read(0.0)
    before = list(one.links)
    nvml.gpus[0].values |= {(165, 3): Error(999), (165, 4): (UINT, 0)}
    one.read(5.0)
    assert one.links == before == ["up"] * 18
    nvml.gpus[0].values[165, 3] = (UINT, 1)
    one.read(10.0)
    assert one.links == [*["up"] * 4, "down", *["up"] * 13]


@pytest.mark.parametrize("turn", range(8))
def test_links_that_change_at_one_time_are_told_at_one_time_within_five_seconds(turn: int) -> None:
    nvml = Nvml(1)
    one = device(nvml, turn)
    one.read(0.0)
    nvml.gpus[0].values |= {(165, link): (UINT, 0) for link in range(18)}
    seen = []
    for second in range(1, 6):
        one.read(float(second))
        seen.append(set(one.links))
    assert all(states in ({"up"}, {"down"}) for states in seen)
    assert seen[-1] == {"down"}


def test_links_that_are_not_there_are_not_listed() -> None:
    nvml = Nvml(1)
    for link in (3, *range(12, 18)):
        nvml.gpus[0].values[165, link] = Error(3)
    one = device(nvml)
    one.read(0.0)
    assert one.links == [*["up"] * 3, "unsupported", *["up"] * 8]
