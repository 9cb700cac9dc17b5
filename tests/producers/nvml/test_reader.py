from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.nvml.reader import GpuLost
from producers.source import SourceError
from schemas import fields
from tests.producers.nvml.double import INT, UINT, ULL, Error
from tests.producers.nvml.readers import PAGES, opened, read, reader


def test_a_steady_read_is_one_batch_and_asks_nothing_that_is_not_supported() -> None:
    nvml = opened()
    gpu = reader(nvml)
    gpu.read()
    nvml.calls.clear()
    nvml.asked.clear()
    gpu.read()
    (batch,) = nvml.asked
    assert not {29, 30, 31} & set(batch)
    assert nvml.calls["nvmlDeviceGetRetiredPages"] == nvml.calls["nvmlDeviceGetRetiredPagesPendingStatus"] == 0
    assert [id for id in PAGES if gpu.tells(id)] == []
    assert gpu.tells(fields.POWER)


def test_what_fails_once_is_blank_once() -> None:
    nvml = opened()
    gpu = reader(nvml, fields.POWER, fields.ECC_DBE_VOLATILE, fields.GPU_TEMP)
    told, values = nvml.gpus[0].told, nvml.gpus[0].values
    told["PowerUsage"], before = Error(999), told["PowerUsage"]
    values[4] = Error(10)
    assert gpu.read() == {fields.POWER: None, fields.ECC_DBE_VOLATILE: None, fields.GPU_TEMP: 41}
    assert "error 999" in gpu.trouble or "error 10" in gpu.trouble
    told["PowerUsage"], values[4] = before, (ULL, 7)
    assert gpu.read() == {fields.POWER: pytest.approx(350.123), fields.ECC_DBE_VOLATILE: 7, fields.GPU_TEMP: 41}
    assert gpu.trouble == ""


@pytest.mark.parametrize("code", [2, 3, 4, 13, 25])
def test_what_this_gpu_or_driver_does_not_tell_is_not_asked_again(code: int) -> None:
    nvml = opened()
    nvml.gpus[0].told["MarginTemperature"] = Error(code)
    gpu = reader(nvml, fields.GPU_TEMP_MARGIN)
    assert [gpu.read(), gpu.read()] == [{fields.GPU_TEMP_MARGIN: None}] * 2
    assert nvml.calls["nvmlDeviceGetMarginTemperature"] == 1


def test_a_lost_gpu_has_no_values_at_all() -> None:
    nvml = opened()
    gpu = reader(nvml)
    nvml.gpus[0].lost = 15
    with pytest.raises(GpuLost, match=r"gpu is lost \(nvml error 15\); see the kernel log for Xid 79; reboot"):
        gpu.read()
    nvml.gpus[0].lost = 0
    assert gpu.read()[fields.GPU_TEMP] == 41


def test_a_gpu_that_is_lost_within_a_batch_is_lost() -> None:
    nvml = opened()
    nvml.gpus[0].values[3] = Error(15)
    with pytest.raises(GpuLost):
        read(nvml, fields.ECC_SBE_VOLATILE)


def test_a_library_that_was_closed_wants_to_be_opened_anew() -> None:
    nvml = opened()
    gpu = reader(nvml)
    nvml.nvmlShutdown()
    with pytest.raises(SourceError, match="uninitialized"):
        gpu.read()


@given(st.sampled_from([(UINT, 2**32 - 2), (ULL, 2**53), (INT, 2**31 - 1)]), st.data())
def test_a_value_of_the_batch_is_read_by_its_type(type_and_most: tuple[int, int], data: Any) -> None:
    type, most = type_and_most
    number = data.draw(st.integers(-most if type == INT else 0, most))
    nvml = opened()
    nvml.gpus[0].values[3] = (type, number)
    assert read(nvml, fields.ECC_SBE_VOLATILE) == {fields.ECC_SBE_VOLATILE: number}
