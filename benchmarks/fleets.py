"""Inputs for the benchmarks: frames of fleets that are quiet, or in which counters move everywhere all the time."""

from __future__ import annotations

from schemas import frames
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    ECC_DBE_VOLATILE,
    ECC_SBE_AGGREGATE,
    ECC_SBE_VOLATILE,
    GPU_TEMP,
    GPU_TEMP_MARGIN,
    MEM_CLOCK,
    MEMORY_TEMP,
    NVLINK_CRC_FLIT_TOTAL,
    PCIE_REPLAY_COUNTER,
    POWER,
    POWER_LIMIT,
    REMAPPED_CORRECTABLE,
    REMAPPED_UNCORRECTABLE,
    RETIRED_DBE,
    RETIRED_SBE,
    ROW_REMAP_FAILURE,
    ROW_REMAP_PENDING,
    SM_CLOCK,
    THERMAL_VIOLATION,
)
from schemas.log import Record
from schemas.records import Gpu

GPUS, TICKS = 8, 5  # per frame
START_MS = 1_767_225_600_000
GAUGES = {
    SM_CLOCK: 1980,
    MEM_CLOCK: 2619,
    CLOCK_EVENT_REASONS: 4,
    MEMORY_TEMP: 60,
    GPU_TEMP: 55,
    GPU_TEMP_MARGIN: 30,
    POWER: 500,
    POWER_LIMIT: 700,
}
STILL = (
    ECC_DBE_VOLATILE,
    ECC_SBE_AGGREGATE,
    RETIRED_DBE,
    REMAPPED_CORRECTABLE,
    ROW_REMAP_FAILURE,
    ROW_REMAP_PENDING,
    THERMAL_VIOLATION,
)
MOVING = (PCIE_REPLAY_COUNTER, ECC_SBE_VOLATILE, NVLINK_CRC_FLIT_TOTAL, REMAPPED_UNCORRECTABLE, RETIRED_SBE)


def fleet(nodes: int, seconds: int, *, moving: bool) -> list[Record]:
    """Frames of 5 ticks x 8 GPUs x 20 fields, one a node every 5 s; with `moving` five counters grow at every tick."""
    gpus = [[Gpu(uuid=f"GPU-{node:06d}-{at}", bdf=f"0000:{at:02x}:00") for at in range(GPUS)] for node in range(nodes)]
    log: list[Record] = []
    for number in range(seconds // TICKS):
        ms = START_MS + number * TICKS * 1000
        columns: dict[int, list[float | None]] = {field: [value] * GPUS * TICKS for field, value in GAUGES.items()}
        columns |= {field: [0] * GPUS for field in STILL}
        for field in MOVING:
            # A step of a million is beyond every limit from the first frame on: scores settle, counters go on.
            counts = [1_000_000 * (number * TICKS + tick) for tick in range(TICKS) for _ in range(GPUS)]
            columns[field] = [float(count) for count in counts] if moving else [0] * GPUS
        ticks = [ms - (TICKS - 1 - tick) * 1000 for tick in range(TICKS)]
        frame = frames.build(node="", seq=number, gpus=gpus[0], ticks=ticks, columns=columns)
        for node in range(nodes):
            frame.node, frame.gpus = f"node-{node:06d}", gpus[node]
            append_ts = ms + node * TICKS * 1000 // nodes
            log.append(Record(len(log), append_ts, frame.node, frames.KIND, frames.encode(frame)))
    return log
