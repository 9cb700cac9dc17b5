"""The DCGM fields we know: id, both generations of names, type, unit and how a value behaves over time.

Ids are stable from DCGM 3.3.9 to 4.6.0; names changed in 4.6.0. Field names follow the `DCGM_FI_*` constants
of the DCGM headers. Blank values are sentinels far outside any measurement (see `is_blank`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

LINKS = 18  # NVLink 4 (H100) has 18 links; the per-link counters below stop there


class Kind(StrEnum):
    """How a value behaves. Gauges travel at every tick; all others only when they change."""

    GAUGE = "gauge"  # may differ at every sample
    COUNTER = "counter"  # grows; restarts at zero with driver, GPU or machine
    LEVEL = "level"  # grows and survives restarts: a measure of damage
    FLAG = "flag"  # a state, rarely changing
    EVENT = "event"  # an occurrence; blank when there was none, sticky afterwards
    TEXT = "text"  # identity; travels as inventory


GROWING = (Kind.COUNTER, Kind.LEVEL)


class Field(msgspec.Struct, frozen=True):
    """name: constant up to DCGM 4.5.3. new_name: from 4.6.0. type: DCGM's i, d or s. unit: "" for counts."""

    id: int
    name: str
    new_name: str
    type: str
    kind: Kind
    unit: str


FIELDS: dict[int, Field] = {}
BY_NAME: dict[str, Field] = {}


def _field(id: int, name: str, new_name: str, type: str, kind: Kind, unit: str = "") -> int:
    prefix = "DCGM_FI_" if name == "DRIVER_VERSION" else "DCGM_FI_DEV_"
    field = Field(id, prefix + name, prefix + (new_name or name), type, kind, unit)
    FIELDS[id] = BY_NAME[field.name] = BY_NAME[field.new_name] = field
    return id


DRIVER_VERSION = _field(1, "DRIVER_VERSION", "SYSTEM_DRIVER_VERSION", "s", Kind.TEXT)
NAME = _field(50, "NAME", "GPU_NAME", "s", Kind.TEXT)
SERIAL = _field(53, "SERIAL", "BOARD_SERIAL", "s", Kind.TEXT)
UUID = _field(54, "UUID", "GPU_UUID", "s", Kind.TEXT)
PCI_BUS_ID = _field(57, "PCI_BUSID", "PCI_BUS_ID", "s", Kind.TEXT)

SM_CLOCK = _field(100, "SM_CLOCK", "", "i", Kind.GAUGE, "MHz")
MEM_CLOCK = _field(101, "MEM_CLOCK", "", "i", Kind.GAUGE, "MHz")
CLOCK_EVENT_REASONS = _field(112, "CLOCK_THROTTLE_REASONS", "CLOCKS_EVENT_REASONS", "i", Kind.GAUGE, "bits")
MAX_SM_CLOCK = _field(113, "MAX_SM_CLOCK", "", "i", Kind.FLAG, "MHz")
MEMORY_TEMP = _field(140, "MEMORY_TEMP", "MEMORY_TEMP_CELSIUS", "i", Kind.GAUGE, "C")
GPU_TEMP = _field(150, "GPU_TEMP", "GPU_TEMP_CELSIUS", "i", Kind.GAUGE, "C")
MEMORY_TEMP_MAX = _field(151, "MEM_MAX_OP_TEMP", "MEMORY_MAX_OP_TEMP_CELSIUS", "i", Kind.FLAG, "C")
GPU_TEMP_MARGIN = _field(153, "GPU_TEMP_TLIMIT", "GPU_TEMP_MARGIN_CELSIUS", "i", Kind.GAUGE, "C")
BY_NAME["DCGM_FI_DEV_GPU_TEMP_LIMIT"] = FIELDS[GPU_TEMP_MARGIN]  # so do C, Go and dcgm-exporter call it up to 4.5.3
POWER = _field(155, "POWER_USAGE", "BOARD_POWER_WATTS", "d", Kind.GAUGE, "W")
POWER_LIMIT = _field(164, "ENFORCED_POWER_LIMIT", "BOARD_POWER_LIMIT_ENFORCED_WATTS", "d", Kind.GAUGE, "W")
FABRIC_MANAGER_STATUS = _field(170, "FABRIC_MANAGER_STATUS", "", "i", Kind.FLAG)
PCIE_REPLAY_COUNTER = _field(202, "PCIE_REPLAY_COUNTER", "PCIE_REPLAY_TOTAL", "i", Kind.COUNTER)
PCIE_GENERATION_MAX = _field(235, "PCIE_MAX_LINK_GEN", "", "i", Kind.FLAG)
PCIE_WIDTH_MAX = _field(236, "PCIE_MAX_LINK_WIDTH", "", "i", Kind.FLAG)
PCIE_GENERATION = _field(237, "PCIE_LINK_GEN", "", "i", Kind.FLAG)  # falls while the GPU is idle, to save power
PCIE_WIDTH = _field(238, "PCIE_LINK_WIDTH", "", "i", Kind.FLAG)
XID = _field(230, "XID_ERRORS", "XID_ERROR", "i", Kind.EVENT)
POWER_VIOLATION = _field(240, "POWER_VIOLATION", "", "i", Kind.COUNTER, "ns")
THERMAL_VIOLATION = _field(241, "THERMAL_VIOLATION", "", "i", Kind.COUNTER, "ns")
ECC_SBE_VOLATILE = _field(310, "ECC_SBE_VOL_TOTAL", "", "i", Kind.COUNTER)
ECC_DBE_VOLATILE = _field(311, "ECC_DBE_VOL_TOTAL", "", "i", Kind.COUNTER)
ECC_SBE_AGGREGATE = _field(312, "ECC_SBE_AGG_TOTAL", "", "i", Kind.LEVEL)
ECC_DBE_AGGREGATE = _field(313, "ECC_DBE_AGG_TOTAL", "", "i", Kind.LEVEL)
SRAM_THRESHOLD = _field(346, "THRESHOLD_SRM", "SRAM_EXCEEDED", "i", Kind.FLAG)  # from 4.2
BANKS_LOW = _field(388, "BANKS_REMAP_ROWS_AVAIL_LOW", "BANK_REMAP_AVAIL_LOW", "i", Kind.FLAG, "banks")
BANKS_NONE = _field(389, "BANKS_REMAP_ROWS_AVAIL_NONE", "BANK_REMAP_AVAIL_NONE", "i", Kind.FLAG, "banks")
RETIRED_SBE = _field(390, "RETIRED_SBE", "PAGE_RETIRED_SBE_TOTAL", "i", Kind.LEVEL)
RETIRED_DBE = _field(391, "RETIRED_DBE", "PAGE_RETIRED_DBE_TOTAL", "i", Kind.LEVEL)
RETIRED_PENDING = _field(392, "RETIRED_PENDING", "PAGE_RETIRED_PENDING", "i", Kind.FLAG)
REMAPPED_UNCORRECTABLE = _field(393, "UNCORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_UNCORRECTABLE_TOTAL", "i", Kind.LEVEL)
REMAPPED_CORRECTABLE = _field(394, "CORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_CORRECTABLE_TOTAL", "i", Kind.LEVEL)
ROW_REMAP_FAILURE = _field(395, "ROW_REMAP_FAILURE", "ROW_REMAP_FAILED", "i", Kind.FLAG)
ROW_REMAP_PENDING = _field(396, "ROW_REMAP_PENDING", "", "i", Kind.FLAG)
MEMORY_UNREPAIRABLE = _field(1507, "MEMORY_UNREPAIRABLE_FLAG", "MEMORY_UNREPAIRABLE", "i", Kind.FLAG)  # from 4.5.3


def _per_link(name: str, new_name: str, total: int, ids: list[int]) -> tuple[int, ...]:
    _field(total, f"{name}_TOTAL", f"{new_name}_TOTAL", "i", Kind.COUNTER)
    return tuple(
        _field(id, f"{name}_L{link}", f"{new_name}_L{link}_TOTAL", "i", Kind.COUNTER) for link, id in enumerate(ids)
    )


NVLINK_CRC_FLIT_TOTAL = 409
NVLINK_CRC_FLIT = _per_link(
    "NVLINK_CRC_FLIT_ERROR_COUNT",
    "NVLINK_CRC_FLIT_ERROR",
    NVLINK_CRC_FLIT_TOTAL,
    [*range(400, 406), *range(451, 457), *range(406, 409), *range(481, 484)],
)
NVLINK_REPLAY_TOTAL = 429
NVLINK_REPLAY = _per_link(
    "NVLINK_REPLAY_ERROR_COUNT",
    "NVLINK_REPLAY_ERROR",
    NVLINK_REPLAY_TOTAL,
    [*range(420, 426), *range(463, 469), *range(426, 429), *range(487, 490)],
)
NVLINK_RECOVERY_TOTAL = 439
NVLINK_RECOVERY = _per_link(
    "NVLINK_RECOVERY_ERROR_COUNT",
    "NVLINK_RECOVERY_ERROR",
    NVLINK_RECOVERY_TOTAL,
    [*range(430, 436), *range(469, 475), *range(436, 439), *range(491, 494)],
)

# NVLink 5 (Blackwell) counts other things, of all links together.
NVLINK_RX_ERRORS = _field(1206, "NVLINK_COUNT_RX_ERRORS", "NVLINK_RX_ERROR_TOTAL", "i", Kind.COUNTER)
NVLINK_RECOVERED = _field(
    1211, "NVLINK_COUNT_LINK_RECOVERY_SUCCESSFUL_EVENTS", "NVLINK_RECOVERY_SUCCESSFUL_TOTAL", "i", Kind.COUNTER
)
NVLINK_NOT_RECOVERED = _field(
    1212, "NVLINK_COUNT_LINK_RECOVERY_FAILED_EVENTS", "NVLINK_RECOVERY_FAILED_TOTAL", "i", Kind.COUNTER
)

RECOVERY_ACTION = _field(1523, "GET_GPU_RECOVERY_ACTION", "GPU_RECOVERY_ACTION", "i", Kind.FLAG)

# The first of each says that there is no value, three more above it say why.
BLANK_INT32 = 2147483632
BLANK_INT64 = 0x7FFF_FFFF_FFFF_FFF0
BLANK_FP64 = 140737488355328.0  # 2**47
NO_GAUGE = 2.0**31 - 2.0**10  # BLANK_INT32 as float32 may round it: neither gauge nor flag reaches so far
SMALL_BLANKS = frozenset(first + why for first in (BLANK_INT32, BLANK_FP64) for why in range(4))
BLANK_TEXT = ("<<<NULL>>>", "<<<NOT_FOUND>>>", "<<<NOT_SUPPORTED>>>", "<<<NOT_PERM>>>")


def is_blank(field: Field, value: float) -> bool:
    """Whether `value` is one of DCGM's "no value" sentinels (or NaN) for this field.

    Counters may pass 2**31 (that of a 32-bit integer), and those in ns pass 2**47 (that of a double) after 39 hours:
    only the sentinels themselves are taken for none of theirs, which costs a count that is real no more than a sample.
    As a double, the sentinel of a 64-bit integer is 2**63.
    """
    if value != value or value >= BLANK_INT64 or value in SMALL_BLANKS:
        return True
    return field.kind not in GROWING and value >= NO_GAUGE
