from __future__ import annotations

import re
from pathlib import Path

import pytest

from producers.nvml.reader import Reader
from producers.nvml.ways import WAYS, fabric_status, link_state
from producers.watched import WATCHED
from schemas import fields
from schemas.fields import FIELDS, LINKS, NVLINK_CRC_FLIT, NVLINK_RECOVERY, NVLINK_REPLAY
from tests.producers.nvml.double import UINT, ULL, Error
from tests.producers.nvml.readers import ECC, PAGES, ROWS, opened, read


def test_there_is_a_way_to_read_each_watched_field_and_each_link() -> None:
    assert set(WATCHED) | {*NVLINK_CRC_FLIT, *NVLINK_REPLAY, *NVLINK_RECOVERY} <= WAYS.keys() <= FIELDS.keys()


def test_an_h100_in_the_units_of_dcgm() -> None:
    assert read(opened()) == {
        fields.SM_CLOCK: 1980,  # MHz
        fields.MEM_CLOCK: 2619,
        fields.MAX_SM_CLOCK: 1980,
        fields.CLOCK_EVENT_REASONS: 0x4,  # bits
        fields.MEMORY_TEMP: 52,  # C
        fields.GPU_TEMP: 41,
        fields.GPU_TEMP_MARGIN: 46,
        fields.POWER: pytest.approx(350.123),  # W, from mW
        fields.POWER_LIMIT: 700,
        fields.POWER_VIOLATION: 5_000_000_000,  # ns
        fields.THERMAL_VIOLATION: 7_000_000,
        fields.FABRIC_MANAGER_STATUS: 3,
        fields.PCIE_REPLAY_COUNTER: 6,
        fields.ECC_SBE_VOLATILE: 11,
        fields.ECC_DBE_VOLATILE: 0,
        fields.ECC_SBE_AGGREGATE: 12,
        fields.ECC_DBE_AGGREGATE: 1,
        fields.RETIRED_SBE: None,  # this model remaps rows
        fields.RETIRED_DBE: None,
        fields.RETIRED_PENDING: None,
        fields.REMAPPED_CORRECTABLE: 1,
        fields.REMAPPED_UNCORRECTABLE: 2,
        fields.ROW_REMAP_PENDING: 1,
        fields.ROW_REMAP_FAILURE: 0,
        fields.BANKS_LOW: 2,
        fields.BANKS_NONE: 1,
        fields.SRAM_THRESHOLD: 1,
        fields.MEMORY_UNREPAIRABLE: 0,
        fields.NVLINK_CRC_FLIT_TOTAL: 3,
        fields.NVLINK_REPLAY_TOTAL: 4,
        fields.NVLINK_RECOVERY_TOTAL: 5,
        fields.MEMORY_TEMP_MAX: 95,
        fields.PCIE_GENERATION_MAX: 5,
        fields.PCIE_WIDTH_MAX: 16,
        fields.PCIE_GENERATION: 4,
        fields.PCIE_WIDTH: 8,
        fields.NVLINK_RX_ERRORS: None,  # of NVLink 5
        fields.NVLINK_RECOVERED: None,
        fields.NVLINK_NOT_RECOVERED: None,
        fields.RECOVERY_ACTION: 0,
    } | dict(zip(NVLINK_CRC_FLIT, range(LINKS), strict=True))


@pytest.mark.parametrize("missing", ["bindings", "driver"])
def test_an_older_driver_is_read_by_its_older_functions(missing: str) -> None:
    nvml = opened()
    told = nvml.gpus[0].told
    if missing == "bindings":
        nvml.missing |= {"nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"}
    else:
        told["TemperatureV"] = Error(13)
    told["Temperature"] = 39
    assert read(nvml, fields.GPU_TEMP, fields.CLOCK_EVENT_REASONS) == {
        fields.GPU_TEMP: 39,
        fields.CLOCK_EVENT_REASONS: 4,
    }


def test_without_a_batch_single_calls_say_the_same() -> None:
    nvml = opened()
    nvml.missing.add("nvmlDeviceGetFieldValues")
    told = nvml.gpus[0].told
    told["TotalEccErrors"] = {(0, 0): 11, (1, 0): 0, (0, 1): 12, (1, 1): 1}
    told["RetiredPages"], told["RetiredPagesPendingStatus"] = {0: [0x1000, 0x2000], 1: [0x3000]}, 1
    for link in range(12):
        told["NvLinkErrorCounter", link, 2] = link
    values = read(nvml)
    assert [values[id] for id in ECC] == [11, 0, 12, 1]
    assert [values[id] for id in ROWS] == [1, 2, 1, 0]
    assert [values[id] for id in PAGES] == [2, 1, 1]
    assert values[fields.PCIE_REPLAY_COUNTER] == 6
    assert [values[id] for id in NVLINK_CRC_FLIT] == [*range(12), *[None] * 6]
    assert values[fields.MEMORY_TEMP] is None


def test_links_by_the_fields_of_older_drivers() -> None:
    nvml = opened()
    values = nvml.gpus[0].values
    for link in range(LINKS):
        del values[163, link]
    values |= {32: (ULL, 100), 37: (ULL, 105), 96: (ULL, 106), 101: (ULL, 111)}
    crc = read(nvml, *NVLINK_CRC_FLIT)
    at = [crc[NVLINK_CRC_FLIT[link]] for link in (0, 1, 5, 6, 11, 12)]
    assert at == [100, None, 105, 106, 111, None]


def test_minus_one_of_the_driver_is_no_measurement() -> None:
    nvml = opened()
    nvml.gpus[0].told["PowerUsage"] = 2**32 - 1
    nvml.gpus[0].values |= {3: (ULL, 2**64 - 1), 82: (UINT, 2**32 - 1)}
    assert set(read(nvml, fields.POWER, fields.ECC_SBE_VOLATILE, fields.MEMORY_TEMP).values()) == {None}


def test_a_wide_counter_may_stand_where_a_narrow_one_means_none() -> None:
    nvml = opened()
    nvml.gpus[0].values = {3: (ULL, 2**32 - 1)}
    nvml.gpus[0].told["TotalEccErrors"] = {(1, 0): 2**32 - 1, (0, 1): 2**64 - 1, (1, 1): 0}
    assert [read(nvml)[id] for id in ECC] == [2**32 - 1, 2**32 - 1, None, 0]


def test_a_margin_may_be_below_zero() -> None:
    nvml = opened()
    nvml.gpus[0].told["MarginTemperature"] = -3
    assert read(nvml, fields.GPU_TEMP_MARGIN) == {fields.GPU_TEMP_MARGIN: -3}


@pytest.mark.parametrize(
    ("state", "status", "expected"),
    [(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3), (3, 999, 4), (9, 0, 5)],
)
def test_the_fabric_in_dcgms_numbers(state: int, status: int, expected: int) -> None:
    nvml = opened()
    nvml.gpus[0].told["Fabric"] = (state, status)
    assert fabric_status(nvml, nvml.nvmlDeviceGetHandleByIndex(0)) == expected


def test_nvlink_5_counts_for_all_links_together() -> None:
    nvml = opened()
    every = 2**32 - 1
    nvml.gpus[0].values |= {(208, every): (ULL, 7), (213, every): (ULL, 2), (214, every): (ULL, 1)}
    assert read(nvml, fields.NVLINK_RX_ERRORS, fields.NVLINK_RECOVERED, fields.NVLINK_NOT_RECOVERED) == {
        fields.NVLINK_RX_ERRORS: 7,
        fields.NVLINK_RECOVERED: 2,
        fields.NVLINK_NOT_RECOVERED: 1,
    }


def test_a_gpu_without_fabric_says_nothing_of_it() -> None:
    nvml = opened()
    nvml.gpus[0].told["Fabric"] = Error(3)
    assert read(nvml, fields.FABRIC_MANAGER_STATUS) == {fields.FABRIC_MANAGER_STATUS: None}


def test_the_state_of_a_link_by_field_or_call() -> None:
    nvml = opened()
    del nvml.gpus[0].values[165, 1]
    nvml.gpus[0].values[165, 2] = (UINT, 0)
    nvml.gpus[0].told["NvLinkState", 1] = 1
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    states = Reader(nvml, handle, {link: link_state(link) for link in (0, 1, 2, 40)}).read()
    assert states == {0: 1, 1: 1, 2: 0, 40: None}


def test_the_page_on_nvml_lists_each_watched_field_and_how_often_it_is_asked() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "agent" / "nvml.md"
    listed: dict[int, str] = {}
    for cell, asked in re.findall(r"^\| (\d[\d, -]*) \|.*\| ([^|]+) \|$", page.read_text("utf-8"), re.MULTILINE):
        for part in cell.split(", "):
            first, _, last = part.partition("-")
            listed |= dict.fromkeys(range(int(first), int(last or first) + 1), asked)
    assert listed == {
        field: f"every {every_s} s" if (every_s := WAYS[field].every_s) else "each sample" for field in WATCHED
    }
