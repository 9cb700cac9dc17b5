"""How often a GPU is asked for each of its values, and what is said in between."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.nvml.reader import GpuLost, Reader
from producers.nvml.ways import WAYS, Asking
from producers.watched import WATCHED
from schemas import fields
from tests.producers.nvml.double import UINT, ULL, Error, Nvml
from tests.producers.nvml.readers import opened, reader

EACH_SAMPLE = (
    fields.SM_CLOCK,
    fields.MEM_CLOCK,
    fields.CLOCK_EVENT_REASONS,
    fields.GPU_TEMP,
    fields.MEMORY_TEMP,
    fields.POWER,
    fields.ECC_SBE_VOLATILE,
    fields.ECC_DBE_VOLATILE,
)
CONSTANT = (
    fields.MAX_SM_CLOCK,
    fields.POWER_LIMIT,
    fields.MEMORY_TEMP_MAX,
    fields.PCIE_GENERATION_MAX,
    fields.PCIE_WIDTH_MAX,
)


class Asked:
    """Ways that note when they are asked; the answer is the number of the second."""

    def __init__(self, *every_s: int, turn: int = 0) -> None:
        self.second = 0
        self.failing = False
        self.at: dict[int, list[int]] = {key: [] for key in range(len(every_s))}
        askings = {key: Asking((self._way(key),), seconds) for key, seconds in enumerate(every_s)}
        self._reader = Reader(opened(), None, askings, turn)

    def _way(self, key: int) -> Any:
        def read(nvml: Any, handle: Any) -> float:
            self.at[key].append(self.second)
            if self.failing:
                raise nvml.NVMLError(999)
            return float(self.second)

        return read

    def read(self, second: int, late_s: float = 0.0) -> dict[int, float | None]:
        self.second = second
        return self._reader.read(1e6 + second + late_s)


def test_gauges_and_memory_errors_are_asked_with_each_sample_and_all_else_within_a_minute() -> None:
    assert {id for id in WATCHED if WAYS[id].every_s == 0} == set(EACH_SAMPLE)
    worn = {fields.SRAM_THRESHOLD, fields.MEMORY_UNREPAIRABLE, fields.BANKS_LOW, fields.BANKS_NONE}
    set_or_worn = {*CONSTANT, *worn}
    assert {id for id in WATCHED if WAYS[id].every_s > 10} == set_or_worn
    assert max(asking.every_s for asking in WAYS.values()) <= 60


@given(
    st.lists(st.sampled_from([0, 1, 5, 10, 60]), min_size=1, max_size=12),
    st.integers(0, 15),
    st.lists(st.floats(-0.2, 0.2), min_size=121, max_size=121),
)
def test_each_is_asked_as_often_as_declared_and_a_change_is_seen_within_that(
    every_s: list[int], turn: int, late_s: list[float]
) -> None:
    asked = Asked(*every_s, turn=turn)
    asked.read(0)
    for second in range(1, 121):
        for key, value in asked.read(second, late_s[second]).items():
            assert value is not None
            assert second - value < max(1, every_s[key])
    for key, seconds in enumerate(every_s):
        after_first = asked.at[key][1:]
        assert len(after_first) == 120 // max(1, seconds)
        assert {after - before for before, after in itertools.pairwise(after_first)} <= {max(1, seconds)}


def test_samples_closer_than_a_second_ask_no_more_for_what_is_due_rarely() -> None:
    asked = Asked(0, 5)
    for tenth in range(101):
        asked.read(tenth // 10, tenth % 10 / 10)
    assert (len(asked.at[0]), len(asked.at[1])) == (101, 3)


def test_after_a_pause_all_that_is_overdue_is_asked_at_once_and_then_spread_as_before() -> None:
    asked = Asked(*[5] * 5)
    for second in (*range(10), *range(17, 28)):
        asked.read(second)
    after = {key: [second for second in seconds if second >= 17] for key, seconds in asked.at.items()}
    assert {seconds[0] for seconds in after.values()} == {17}
    assert Counter(seconds[-1] for seconds in after.values()) == Counter(range(23, 28))


def test_no_second_is_dearer_than_another() -> None:
    """Eight GPUs of the model that has most to tell, after their first sample."""
    nvml = opened(Nvml(8))
    gpus = [
        Reader(nvml, nvml.nvmlDeviceGetHandleByIndex(turn), {id: WAYS[id] for id in WATCHED}, turn) for turn in range(8)
    ]
    per_second: list[Counter[Any]] = []
    for second in range(61):
        nvml.calls.clear()
        nvml.asked.clear()
        for gpu in gpus:
            gpu.read(float(second))
        per_second.append(nvml.calls + Counter(id for batch in nvml.asked for id in batch))
    _, *steady = per_second
    for dear, at_most in (
        ("nvmlDeviceGetMarginTemperature", 2),  # of 8 each 5 s
        ("nvmlDeviceGetMaxClockInfo", 1),
        ("nvmlDeviceGetEnforcedPowerLimit", 1),
        ("nvmlDeviceGetGpuFabricInfoV", 1),
        (94, 2),
        (74, 1),
        (75, 1),
    ):
        assert max(calls[dear] for calls in steady) == at_most
    fields_read = [sum(count for what, count in calls.items() if not isinstance(what, str)) for calls in steady]
    assert max(fields_read) <= 1.25 * min(fields_read)


def test_a_value_that_fails_is_blank_at_once_and_asked_again_within_five_seconds() -> None:
    nvml = opened()
    gpu = reader(nvml, fields.POWER, fields.MAX_SM_CLOCK, fields.NVLINK_CRC_FLIT_TOTAL)
    gpu.read(0.0)
    nvml.gpus[0].told["MaxClockInfo"], nvml.gpus[0].values[38] = Error(999), Error(999)
    assert [gpu.read(60.0)[id] for id in (fields.MAX_SM_CLOCK, fields.NVLINK_CRC_FLIT_TOTAL)] == [None, None]
    nvml.gpus[0].told["MaxClockInfo"], nvml.gpus[0].values[38] = {1: 1755}, (ULL, 9)
    assert gpu.read(61.0)[fields.MAX_SM_CLOCK] is None
    assert [gpu.read(65.0)[id] for id in (fields.MAX_SM_CLOCK, fields.NVLINK_CRC_FLIT_TOTAL)] == [1755, 9]


def test_what_fails_for_good_is_not_asked_each_second() -> None:
    asked = Asked(0, 60)
    asked.failing = True
    asked._reader._ways[0] = [lambda nvml, handle: 1.0]  # else nothing is told at all
    for second in range(21):
        assert asked.read(second)[1] is None
    assert asked.at[1] == [0, 5, 10, 15, 20]


def test_when_nothing_is_told_at_all_nothing_is_repeated_and_all_is_asked_anew() -> None:
    asked = Asked(0, 5, 60)
    asked.read(0)
    asked.failing = True
    assert asked.read(1) == {0: None, 1: None, 2: None}
    asked.failing = False
    assert asked.read(2) == {0: 2, 1: 2, 2: 2}


def test_a_gpu_that_was_lost_is_asked_for_everything_anew() -> None:
    nvml = opened()
    gpu = reader(nvml, fields.POWER, fields.POWER_LIMIT, fields.REMAPPED_UNCORRECTABLE)
    gpu.read(0.0)
    nvml.gpus[0].lost = 15
    with pytest.raises(GpuLost):
        gpu.read(1.0)
    nvml.gpus[0].lost = 0
    nvml.gpus[0].told["EnforcedPowerLimit"], nvml.gpus[0].values[143] = 500_000, (UINT, 3)
    values = gpu.read(2.0)
    assert (values[fields.POWER_LIMIT], values[fields.REMAPPED_UNCORRECTABLE]) == (500, 3)
