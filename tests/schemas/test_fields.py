"""The field table knows both generations of names and every sentinel."""

from __future__ import annotations

import pytest

from schemas.fields import (
    BY_NAME,
    ECC_SBE_VOLATILE,
    FIELDS,
    GPU_TEMP,
    LINKS,
    MEMORY_TEMP,
    NVLINK_CRC_FLIT,
    NVLINK_RECOVERY,
    NVLINK_REPLAY,
    POWER,
    THERMAL_VIOLATION,
    is_blank,
)


@pytest.mark.parametrize("name", ["DCGM_FI_DEV_RETIRED_SBE", "DCGM_FI_DEV_PAGE_RETIRED_SBE_TOTAL"])
def test_old_and_new_names_are_the_same_field(name: str) -> None:
    assert BY_NAME[name].id == 390


@pytest.mark.parametrize("name", ["GPU_TEMP_TLIMIT", "GPU_TEMP_LIMIT", "GPU_TEMP_MARGIN_CELSIUS"])
def test_the_margin_has_one_more_name(name: str) -> None:
    """Python's bindings and the headers of C did not agree on it."""
    assert BY_NAME[f"DCGM_FI_DEV_{name}"].id == 153


@pytest.mark.parametrize("links", [NVLINK_CRC_FLIT, NVLINK_REPLAY, NVLINK_RECOVERY])
def test_every_link_has_a_counter_of_its_own(links: tuple[int, ...]) -> None:
    assert len(set(links)) == LINKS
    assert [FIELDS[field].name.rpartition("_L")[2] for field in links] == [str(link) for link in range(LINKS)]


@pytest.mark.parametrize("sentinel", [9223372036854775792, 9223372036854775794, 2.0**63, float("inf"), float("nan")])
@pytest.mark.parametrize("field", [MEMORY_TEMP, POWER, ECC_SBE_VOLATILE, THERMAL_VIOLATION])
def test_sentinels_are_blank(field: int, sentinel: float) -> None:
    assert is_blank(FIELDS[field], sentinel)


SMALL = [2147483632 + why for why in range(4)] + [140737488355328.0 + why for why in range(4)]


@pytest.mark.parametrize("sentinel", SMALL)
def test_small_sentinels_are_blank_in_every_field(sentinel: float) -> None:
    assert [field.name for field in FIELDS.values() if not is_blank(field, sentinel)] == []


@pytest.mark.parametrize("value", [2147483631, 2147483636, 140737488355327.0, 140737488355332.0])
def test_what_lies_beside_a_small_sentinel_is_a_count(value: float) -> None:
    """2**47 ns: a GPU that was held back for 39 hours."""
    assert not is_blank(FIELDS[THERMAL_VIOLATION], value)
    assert not is_blank(FIELDS[ECC_SBE_VOLATILE], value)


@pytest.mark.parametrize("value", [2.0**31, 140737488355332.0, 2.0**50])
def test_no_gauge_lies_beyond_a_sentinel(value: float) -> None:
    """Gauges travel as float32, in which the sentinel of 32-bit integers is 2**31."""
    assert is_blank(FIELDS[POWER], value)
    assert is_blank(FIELDS[GPU_TEMP], value)


@pytest.mark.parametrize("value", [0, -12, 85, 2**31 - 17, 2**40])
def test_measurements_are_not_blank(value: float) -> None:
    assert not is_blank(FIELDS[ECC_SBE_VOLATILE], value)
    assert not is_blank(FIELDS[GPU_TEMP], min(value, 1000))
