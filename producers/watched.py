"""Which fields a node's sources ask for, each second, of every GPU."""

from __future__ import annotations

from collections.abc import Collection

from schemas import fields
from schemas.counts import counted

NAMES_MAX = 6

SPECIFIED = (
    fields.ECC_SBE_VOLATILE,
    fields.ECC_DBE_VOLATILE,
    fields.GPU_TEMP,
    fields.POWER,
    fields.SM_CLOCK,
    fields.MEM_CLOCK,
    fields.PCIE_REPLAY_COUNTER,
    fields.NVLINK_CRC_FLIT_TOTAL,
    *fields.NVLINK_CRC_FLIT,  # `dcgm_nvlink_crc_errors_total` names the link
    fields.RETIRED_SBE,
    fields.RETIRED_DBE,
    fields.RETIRED_PENDING,
)
CORRECTED = (  # what judges by better evidence than the specification's, or explains it
    fields.CLOCK_EVENT_REASONS,
    fields.MAX_SM_CLOCK,
    fields.POWER_LIMIT,
    fields.POWER_VIOLATION,
    fields.THERMAL_VIOLATION,
    fields.MEMORY_TEMP,
    fields.GPU_TEMP_MARGIN,
    fields.ECC_SBE_AGGREGATE,
    fields.ECC_DBE_AGGREGATE,
    fields.REMAPPED_UNCORRECTABLE,
    fields.REMAPPED_CORRECTABLE,
    fields.ROW_REMAP_FAILURE,
    fields.ROW_REMAP_PENDING,
    fields.SRAM_THRESHOLD,
    fields.BANKS_LOW,
    fields.BANKS_NONE,
    fields.MEMORY_UNREPAIRABLE,
    fields.NVLINK_REPLAY_TOTAL,
    fields.NVLINK_RECOVERY_TOTAL,
    fields.FABRIC_MANAGER_STATUS,
    fields.MEMORY_TEMP_MAX,
    fields.PCIE_GENERATION_MAX,
    fields.PCIE_WIDTH_MAX,
    fields.PCIE_GENERATION,
    fields.PCIE_WIDTH,
    fields.NVLINK_RX_ERRORS,
    fields.NVLINK_RECOVERED,
    fields.NVLINK_NOT_RECOVERED,
    fields.RECOVERY_ACTION,
)

# Xids are no samples: sources tell them as faults. A test keeps this at least what all signals declare.
WATCHED: tuple[int, ...] = tuple(sorted(SPECIFIED + CORRECTED))


def in_words(some: Collection[int]) -> str:
    """The names of `some` of them, in their order, one for all links; the first few, and how many fields more."""
    ids = [id for id in WATCHED if id in some]
    names = [fields.FIELDS[id].name.removeprefix("DCGM_FI_DEV_") for id in ids if id not in fields.NVLINK_CRC_FLIT]
    links = len(ids) - len(names)
    shown = names[:NAMES_MAX]
    more = len(names) - len(shown)
    if links:
        shown.append(f"NVLINK_CRC_FLIT_ERROR_COUNT of {counted(links, 'link')} ({counted(links, 'field')})")
    return ", ".join(shown) + (f" and {more} more" if more else "")
