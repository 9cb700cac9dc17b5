"""How each field is read from NVML, in DCGM's units, and how often: first what a batch can read, then single calls."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from producers.nvml.library import ask
from schemas import fields

NAN = float("nan")  # asked, and there is no value now
NONE_32, NONE_64 = 2**32 - 1, 2**64 - 1  # what the driver says instead of a number of that width

GPU_SENSOR = 0
CLOCK_SM, CLOCK_MEM = 1, 2
CORRECTED, UNCORRECTED = 0, 1
VOLATILE, AGGREGATE = 0, 1
SINGLE_BIT, DOUBLE_BIT = 0, 1  # what pages were retired for
POLICY_POWER, POLICY_THERMAL = 0, 1
LINK_COUNT, LINK_STATE = 91, 165
ALL_LINKS = 2**32 - 1  # instead of the number of a link, where NVLink 5 counts
MEMORY_MAX = 2  # of the temperatures that something happens at
FABRIC_COMPLETED, FABRIC_SUCCESS, FABRIC_FAILURE, FABRIC_UNRECOGNIZED = 3, 3, 4, 5


class Value(NamedTuple):
    """Read with many others in one call, by NVML's own field id. scope: the link, where the field is a link's."""

    id: int
    scope: int | None = None


Call = Callable[[Any, Any], Any]  # (module, handle) -> number; None = this GPU or driver does not tell it
Way = Value | Call


class Asking(NamedTuple):
    """ways: of which the first that the driver and the GPU know is used. every_s: seconds from one asking to the
    next, in which the value stands; 0 = with each sample. together: in the same second as others of that kind.
    """

    ways: tuple[Way, ...]
    every_s: int = 0
    together: bool = False


def call(
    function: str,
    *arguments: Any,
    scale: float = 1.0,
    none: int = NONE_32,
    take: Callable[[Any], Any] = lambda told: told,
) -> Call:
    """A single call. scale: from NVML's unit to DCGM's. take: the number in what is told. none: there is no number."""

    def read(nvml: Any, handle: Any) -> float | None:
        told = ask(nvml, function, handle, *arguments)
        if told is None:
            return None
        number = take(told)
        return NAN if number == none else float(number) * scale

    return read


def fabric_status(nvml: Any, handle: Any) -> float | None:
    """DCGM's number for how far the GPU has come in joining its NVLink fabric."""
    for function, struct in (
        ("nvmlDeviceGetGpuFabricInfoV", "c_nvmlGpuFabricInfoV_t"),
        ("nvmlDeviceGetGpuFabricInfo", "c_nvmlGpuFabricInfo_t"),
    ):
        if not hasattr(nvml, struct):
            continue
        info = getattr(nvml, struct)()
        if ask(nvml, function, handle, ctypes.byref(info)) is None:
            continue
        if info.state == FABRIC_COMPLETED:
            return float(FABRIC_FAILURE if info.status else FABRIC_SUCCESS)
        return float(info.state if info.state < FABRIC_COMPLETED else FABRIC_UNRECOGNIZED)
    return None


def sram_threshold(nvml: Any, handle: Any) -> float | None:
    """Whether SRAM has had more uncorrectable errors than the field diagnostic accepts."""
    if not hasattr(nvml, "c_nvmlEccSramErrorStatus_v1_t"):
        return None
    status = nvml.c_nvmlEccSramErrorStatus_v1_t()
    status.version = nvml.nvmlEccSramErrorStatus_v1
    if ask(nvml, "nvmlDeviceGetSramEccErrorStatus", handle, ctypes.byref(status)) is None:
        return None
    return float(status.bThresholdExceeded != 0)


def _banks(availability: str) -> tuple[Way, ...]:
    return (call("nvmlDeviceGetRowRemapperHistogram", take=lambda told: getattr(told, availability)),)


def _violation(policy: int, id: int) -> tuple[Way, ...]:
    return Value(id), call("nvmlDeviceGetViolationStatus", policy, none=NONE_64, take=lambda told: told.violationTime)


def _ecc(id: int, kind: int, span: int) -> tuple[Way, ...]:
    return Value(id), call("nvmlDeviceGetTotalEccErrors", kind, span, none=NONE_64)


def _rows(id: int, at: int) -> tuple[Way, ...]:
    return Value(id), call("nvmlDeviceGetRemappedRows", take=lambda told: told[at])


def _pages(id: int, cause: int) -> tuple[Way, ...]:
    return Value(id), call("nvmlDeviceGetRetiredPages", cause, take=len)


def _links(ids: Iterable[int], scoped: int, unscoped: Iterable[int], counter: int) -> dict[int, Asking]:
    """An error counter of each link. scoped: NVML's field for any link; unscoped: those for one link each."""
    old = dict(enumerate(unscoped))
    ways: dict[int, tuple[Way, ...]] = {
        id: (
            Value(scoped, link),
            *([Value(old[link])] if link in old else []),
            call("nvmlDeviceGetNvLinkErrorCounter", link, counter, none=NONE_64),
        )
        for link, id in enumerate(ids)
    }
    return {id: Asking(some, EVIDENCE_S) for id, some in ways.items()}


# Each asking of the driver costs from some ten microseconds to more than a millisecond. So what moves by itself, and
# the errors of memory, are asked for with each sample, and what moves rarely less often.
JUDGED_S = 5  # signals judge it
EVIDENCE_S = 10  # it explains what others say
CONSTANT_S = 60  # people set it, or it marks wear

WAYS: dict[int, Asking] = {
    fields.SM_CLOCK: Asking((call("nvmlDeviceGetClockInfo", CLOCK_SM),)),
    fields.MEM_CLOCK: Asking((call("nvmlDeviceGetClockInfo", CLOCK_MEM),)),
    fields.MAX_SM_CLOCK: Asking((call("nvmlDeviceGetMaxClockInfo", CLOCK_SM),), CONSTANT_S),
    fields.CLOCK_EVENT_REASONS: Asking(
        (
            call("nvmlDeviceGetCurrentClocksEventReasons"),
            call("nvmlDeviceGetCurrentClocksThrottleReasons"),
        )
    ),
    fields.MEMORY_TEMP: Asking((Value(82),)),
    fields.GPU_TEMP: Asking(
        (
            call("nvmlDeviceGetTemperatureV", GPU_SENSOR),
            call("nvmlDeviceGetTemperature", GPU_SENSOR),
        )
    ),
    fields.GPU_TEMP_MARGIN: Asking((call("nvmlDeviceGetMarginTemperature"),), JUDGED_S),
    fields.POWER: Asking((call("nvmlDeviceGetPowerUsage", scale=0.001),)),
    fields.POWER_LIMIT: Asking((call("nvmlDeviceGetEnforcedPowerLimit", scale=0.001),), CONSTANT_S),
    fields.FABRIC_MANAGER_STATUS: Asking((fabric_status,), EVIDENCE_S),
    fields.PCIE_REPLAY_COUNTER: Asking((Value(94), call("nvmlDeviceGetPcieReplayCounter")), JUDGED_S),
    fields.POWER_VIOLATION: Asking(_violation(POLICY_POWER, 74), EVIDENCE_S),
    fields.THERMAL_VIOLATION: Asking(_violation(POLICY_THERMAL, 75), EVIDENCE_S),
    fields.ECC_SBE_VOLATILE: Asking(_ecc(3, CORRECTED, VOLATILE)),
    fields.ECC_DBE_VOLATILE: Asking(_ecc(4, UNCORRECTED, VOLATILE)),
    fields.ECC_SBE_AGGREGATE: Asking(_ecc(5, CORRECTED, AGGREGATE), EVIDENCE_S),
    fields.ECC_DBE_AGGREGATE: Asking(_ecc(6, UNCORRECTED, AGGREGATE), JUDGED_S),
    fields.RETIRED_SBE: Asking(_pages(29, SINGLE_BIT), JUDGED_S),
    fields.RETIRED_DBE: Asking(_pages(30, DOUBLE_BIT), JUDGED_S),
    fields.RETIRED_PENDING: Asking((Value(31), call("nvmlDeviceGetRetiredPagesPendingStatus")), JUDGED_S),
    fields.REMAPPED_CORRECTABLE: Asking(_rows(142, 0), EVIDENCE_S),
    fields.REMAPPED_UNCORRECTABLE: Asking(_rows(143, 1), JUDGED_S),
    fields.ROW_REMAP_PENDING: Asking(_rows(144, 2), JUDGED_S),
    fields.ROW_REMAP_FAILURE: Asking(_rows(145, 3), JUDGED_S),
    fields.BANKS_LOW: Asking(_banks("low"), CONSTANT_S),
    fields.BANKS_NONE: Asking(_banks("none"), CONSTANT_S),
    fields.SRAM_THRESHOLD: Asking((sram_threshold,), CONSTANT_S),
    fields.MEMORY_UNREPAIRABLE: Asking((call("nvmlDeviceGetUnrepairableMemoryFlag_v1"),), CONSTANT_S),
    fields.NVLINK_CRC_FLIT_TOTAL: Asking((Value(38),), JUDGED_S),
    fields.NVLINK_REPLAY_TOTAL: Asking((Value(52),), EVIDENCE_S),
    fields.NVLINK_RECOVERY_TOTAL: Asking((Value(59),), EVIDENCE_S),
    **_links(fields.NVLINK_CRC_FLIT, 163, (*range(32, 38), *range(96, 102)), 2),
    **_links(fields.NVLINK_REPLAY, 161, (*range(46, 52), *range(108, 114)), 0),
    **_links(fields.NVLINK_RECOVERY, 162, (*range(53, 59), *range(114, 120)), 1),
    fields.MEMORY_TEMP_MAX: Asking((call("nvmlDeviceGetTemperatureThreshold", MEMORY_MAX),), CONSTANT_S),
    fields.PCIE_GENERATION_MAX: Asking((call("nvmlDeviceGetMaxPcieLinkGeneration"),), CONSTANT_S),
    fields.PCIE_WIDTH_MAX: Asking((call("nvmlDeviceGetMaxPcieLinkWidth"),), CONSTANT_S),
    fields.PCIE_GENERATION: Asking((call("nvmlDeviceGetCurrPcieLinkGeneration"),), EVIDENCE_S),
    fields.PCIE_WIDTH: Asking((call("nvmlDeviceGetCurrPcieLinkWidth"),), EVIDENCE_S),
    fields.NVLINK_RX_ERRORS: Asking((Value(208, ALL_LINKS),), EVIDENCE_S),
    fields.NVLINK_RECOVERED: Asking((Value(213, ALL_LINKS),), EVIDENCE_S),
    fields.NVLINK_NOT_RECOVERED: Asking((Value(214, ALL_LINKS),), EVIDENCE_S),
    fields.RECOVERY_ACTION: Asking((Value(230),), JUDGED_S),
}


def link_state(link: int) -> Asking:
    """0 inactive, 1 active, 2 asleep, 3 active without traffic."""
    return Asking((Value(LINK_STATE, link), call("nvmlDeviceGetNvLinkState", link)), JUDGED_S, together=True)
