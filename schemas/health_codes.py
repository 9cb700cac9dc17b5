"""DCGM's numbers of what its health watches and diagnostics find (`DCGM_FR_*`), and what each says of the GPU.

Names and numbers: DCGM 4.x, dcgmlib/dcgm_errors.h (github.com/NVIDIA/DCGM, up to 109) and the constants of its Go
bindings (github.com/NVIDIA/go-dcgm, up to 116). Later ones (DCGM 4.2 and newer: bit error rates, recovery actions,
a GPU fallen off the bus ...) have no published list that we know of: such a finding is judged by what DCGM itself
makes of it, as any number that is not here. The classes are ours; DCGM's own severity (same header) and what each
watch checks (dcgm_health) were weighed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Verdict(StrEnum):
    """What a finding asks for at most, mildest first.

    elsewhere: an Xid, which is judged as an Xid. note: of the test, the software or the set-up, not of the GPU.
    warning: the GPU works, and is worth a look. evict: it is not fit for traffic. replace: nor will it ever be.
    """

    ELSEWHERE = "elsewhere"
    NOTE = "note"
    WARNING = "warning"
    EVICT = "evict"
    REPLACE = "replace"


class HealthCode(NamedTuple):
    """name: DCGM's, without its prefix. corruption: data has been wrong. confirmed: beyond doubt."""

    code: int
    name: str
    verdict: Verdict
    meaning: str
    corruption: bool = False
    confirmed: bool = False


ELSEWHERE, NOTE, WARNING, EVICT, REPLACE = Verdict


def _rows() -> list[HealthCode]:
    def note(code: int, name: str, meaning: str) -> HealthCode:
        return HealthCode(code, name, NOTE, meaning)

    def warn(code: int, name: str, meaning: str) -> HealthCode:
        return HealthCode(code, name, WARNING, meaning)

    def out(code: int, name: str, meaning: str) -> HealthCode:
        return HealthCode(code, name, EVICT, meaning)

    def wrong(code: int, name: str, meaning: str, *, confirmed: bool = True) -> HealthCode:
        return HealthCode(code, name, EVICT, meaning, corruption=True, confirmed=confirmed)

    return [
        note(0, "OK", "no error"),
        warn(3, "PCI_REPLAY_RATE", "too many PCIe replays a minute"),
        wrong(4, "VOLATILE_DBE_DETECTED", "uncorrectable memory error"),
        warn(5, "VOLATILE_SBE_DETECTED", "too many correctable memory errors"),
        warn(6, "PENDING_PAGE_RETIREMENTS", "a page waits for retirement: reset the GPU"),
        HealthCode(7, "RETIRED_PAGES_LIMIT", REPLACE, "as many memory pages retired as there may be"),
        HealthCode(8, "RETIRED_PAGES_DBE_LIMIT", REPLACE, "many pages retired for uncorrectable errors, more of late"),
        warn(9, "CORRUPT_INFOROM", "the InfoROM, where the GPU keeps its history, is corrupt"),
        warn(10, "CLOCK_THROTTLE_THERMAL", "clocks held back by heat"),
        note(11, "POWER_UNREADABLE", "power cannot be read"),
        warn(12, "CLOCK_THROTTLE_POWER", "clocks held back by power"),
        warn(13, "NVLINK_ERROR_THRESHOLD", "too many NVLink errors"),
        warn(14, "NVLINK_DOWN", "an NVLink is down"),
        warn(15, "NVSWITCH_FATAL_ERROR", "fatal error of an NVSwitch"),
        warn(16, "NVSWITCH_NON_FATAL_ERROR", "non-fatal error of an NVSwitch"),
        warn(17, "NVSWITCH_DOWN", "an NVSwitch is down"),
        note(18, "NO_ACCESS_TO_FILE", "a file cannot be opened"),
        note(19, "NVML_API", "a call of the driver's library failed"),
        note(20, "DEVICE_COUNT_MISMATCH", "/dev and the driver's library count different GPUs"),
        note(21, "BAD_PARAMETER", "a call with a wrong parameter"),
        note(22, "CANNOT_OPEN_LIB", "a library cannot be opened"),
        note(23, "DENYLISTED_DRIVER", "a driver that must not be loaded is"),
        note(24, "NVML_LIB_BAD", "the driver's library lacks functions"),
        note(25, "GRAPHICS_PROCESSES", "graphics processes run on the GPU"),
        note(26, "HOSTENGINE_CONN", "the host engine cannot be reached"),
        note(27, "FIELD_QUERY", "a field cannot be read"),
        note(28, "BAD_CUDA_ENV", "the environment holds back CUDA"),
        note(29, "PERSISTENCE_MODE", "persistence mode is off"),
        warn(30, "LOW_BANDWIDTH", "bandwidth below the minimum"),
        warn(31, "HIGH_LATENCY", "latency above the maximum"),
        note(32, "CANNOT_GET_FIELD_TAG", "a field is not known"),
        warn(33, "FIELD_VIOLATION", "an error counter moved during the test"),
        warn(34, "FIELD_THRESHOLD", "a field passed its threshold during the test"),
        warn(35, "FIELD_VIOLATION_DBL", "an error counter moved during the test"),
        warn(36, "FIELD_THRESHOLD_DBL", "a field passed its threshold during the test"),
        note(37, "UNSUPPORTED_FIELD_TYPE", "a field is of no type that can be tested"),
        warn(38, "FIELD_THRESHOLD_TS", "a field passed its threshold during the test"),
        warn(39, "FIELD_THRESHOLD_TS_DBL", "a field passed its threshold during the test"),
        warn(40, "THERMAL_VIOLATIONS", "the GPU was too hot for a time"),
        warn(41, "THERMAL_VIOLATIONS_TS", "the GPU was too hot for a time"),
        warn(42, "TEMP_VIOLATION", "the GPU is hotter than the test allows"),
        warn(43, "THROTTLING_VIOLATION", "clocks were held back during the test"),
        note(44, "INTERNAL", "the diagnostic failed internally"),
        warn(45, "PCIE_GENERATION", "the PCIe link runs at too low a generation"),
        warn(46, "PCIE_WIDTH", "the PCIe link is too narrow"),
        note(47, "ABORTED", "the test was aborted"),
        note(48, "TEST_DISABLED", "the test does not exist for this GPU"),
        note(49, "CANNOT_GET_STAT", "a measurement cannot be read"),
        warn(50, "STRESS_LEVEL", "the GPU did not reach the work that was expected of it"),
        note(51, "CUDA_API", "a call of CUDA failed"),
        wrong(52, "FAULTY_MEMORY", "the memory test found faulty memory"),
        note(53, "CANNOT_SET_WATCHES", "fields cannot be watched"),
        note(54, "CUDA_UNBOUND", "the CUDA context was lost"),
        note(55, "ECC_DISABLED", "ECC is off"),
        note(56, "MEMORY_ALLOC", "GPU memory cannot be allocated"),
        wrong(57, "CUDA_DBE", "CUDA met an uncorrectable memory error"),
        wrong(58, "MEMORY_MISMATCH", "memory held something else than was written, and nobody noticed"),
        note(59, "CUDA_DEVICE", "CUDA does not find the GPU"),
        note(60, "ECC_UNSUPPORTED", "the GPU has no ECC"),
        note(61, "ECC_PENDING", "a change of ECC mode waits for a reset"),
        warn(62, "MEMORY_BANDWIDTH", "memory bandwidth below the minimum"),
        warn(63, "TARGET_POWER", "the GPU did not draw the power that was expected of it"),
        note(64, "API_FAIL", "a call failed"),
        note(65, "API_FAIL_GPU", "a call failed"),
        note(66, "CUDA_CONTEXT", "no CUDA context on the GPU"),
        note(67, "DCGM_API", "a call of DCGM failed"),
        note(68, "CONCURRENT_GPUS", "the test needs several GPUs"),
        note(69, "TOO_MANY_ERRORS", "more errors than can be reported"),
        out(70, "NVLINK_CRC_ERROR_THRESHOLD", "more than 100 NVLink CRC errors a second"),
        warn(71, "NVLINK_ERROR_CRITICAL", "NVLink replays or recoveries"),
        note(72, "ENFORCED_POWER_LIMIT", "the power limit is too low for the test"),
        note(73, "MEMORY_ALLOC_HOST", "host memory cannot be allocated"),
        note(74, "GPU_OP_MODE", "the GPU's operating mode does not fit the test"),
        note(75, "NO_MEMORY_CLOCKS", "no memory clocks that fit the test"),
        note(76, "NO_GRAPHICS_CLOCKS", "no graphics clocks that fit the test"),
        note(77, "HAD_TO_RESTORE_STATE", "the GPU's settings had to be put back"),
        note(78, "L1TAG_UNSUPPORTED", "the L1 cache test does not exist for this GPU"),
        wrong(79, "L1TAG_MISCOMPARE", "the L1 cache held something else than was written"),
        HealthCode(80, "ROW_REMAP_FAILURE", REPLACE, "row remapping failed"),
        HealthCode(81, "UNCONTAINED_ERROR", ELSEWHERE, "uncontained memory error: Xid 95"),
        note(82, "EMPTY_GPU_LIST", "no GPU was given to the test"),
        warn(83, "DBE_PENDING_PAGE_RETIREMENTS", "a page with an uncorrectable error waits for retirement: reset"),
        warn(84, "UNCORRECTABLE_ROW_REMAP", "rows were remapped for uncorrectable errors"),
        warn(85, "PENDING_ROW_REMAP", "a row waits for its remapping: reset the GPU"),
        wrong(86, "BROKEN_P2P_MEMORY_DEVICE", "data written by a peer arrived wrong in this GPU", confirmed=False),
        wrong(87, "BROKEN_P2P_WRITER_DEVICE", "data written to a peer by this GPU arrived wrong", confirmed=False),
        warn(88, "NVSWITCH_NVLINK_DOWN", "an NVLink of an NVSwitch is down"),
        note(89, "EUD_BINARY_PERMISSIONS", "the extended diagnostic may not be run"),
        note(90, "EUD_NON_ROOT_USER", "the extended diagnostic needs root"),
        note(91, "EUD_SPAWN_FAILURE", "the extended diagnostic cannot be started"),
        note(92, "EUD_TIMEOUT", "the extended diagnostic did not end in time"),
        note(93, "EUD_ZOMBIE", "the extended diagnostic does not end"),
        out(94, "EUD_NON_ZERO_EXIT_CODE", "the extended diagnostic ended with an error"),
        out(95, "EUD_TEST_FAILED", "the extended diagnostic failed"),
        note(96, "FILE_CREATE_PERMISSIONS", "a file cannot be made"),
        note(97, "PAUSE_RESUME_FAILED", "the host engine's watches could not be paused"),
        warn(98, "PCIE_H_REPLAY_VIOLATION", "PCIe replays on the host's side during the test"),
        warn(99, "GPU_EXPECTED_NVLINKS_UP", "fewer NVLinks up than there should be"),
        warn(100, "NVSWITCH_EXPECTED_NVLINKS_UP", "fewer NVLinks of an NVSwitch up than there should be"),
        HealthCode(101, "XID_ERROR", ELSEWHERE, "an Xid"),
        warn(102, "SBE_VIOLATION", "correctable memory errors during the test"),
        wrong(103, "DBE_VIOLATION", "uncorrectable memory errors during the test"),
        warn(104, "PCIE_REPLAY_VIOLATION", "PCIe replays during the test"),
        warn(105, "SBE_THRESHOLD_VIOLATION", "too many correctable memory errors during the test"),
        wrong(106, "DBE_THRESHOLD_VIOLATION", "uncorrectable memory errors during the test"),
        warn(107, "PCIE_REPLAY_THRESHOLD_VIOLATION", "too many PCIe replays during the test"),
        note(108, "CUDA_FM_NOT_INITIALIZED", "Fabric Manager is not running"),
        HealthCode(109, "SXID_ERROR", ELSEWHERE, "an SXid of an NVSwitch"),
        warn(110, "GFLOPS_THRESHOLD_VIOLATION", "the GPU computes slower than it should"),
        wrong(111, "NAN_VALUE", "the GPU computed what is no number", confirmed=False),
        warn(112, "FABRIC_MANAGER_TRAINING_ERROR", "Fabric Manager did not finish training the links"),
        wrong(113, "BROKEN_P2P_PCIE_MEMORY_DEVICE", "data from a peer arrived wrong over PCIe", confirmed=False),
        wrong(114, "BROKEN_P2P_PCIE_WRITER_DEVICE", "data to a peer arrived wrong over PCIe", confirmed=False),
        wrong(115, "BROKEN_P2P_NVLINK_MEMORY_DEVICE", "data from a peer arrived wrong over NVLink", confirmed=False),
        wrong(116, "BROKEN_P2P_NVLINK_WRITER_DEVICE", "data to a peer arrived wrong over NVLink", confirmed=False),
    ]


CODES: Mapping[int, HealthCode] = MappingProxyType({row.code: row for row in _rows()})


def finding(code: int, failed: bool) -> HealthCode:
    """What a finding says. failed: DCGM itself calls it a failure, and no mere warning, which decides for a number
    that is not in the table and for one that says nothing (1, 2).
    """
    return CODES.get(code) or HealthCode(code, "", EVICT if failed else WARNING, f"DCGM finding {code}")
