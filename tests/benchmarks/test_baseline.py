"""The plain-Python yardstick of the benchmarks and the node stage come to the same scores."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from benchmarks.baseline import PythonFleet
from pipeline.policies import load
from processors.node import NodeTask
from schemas import frames, records
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    ECC_DBE_VOLATILE,
    ECC_SBE_VOLATILE,
    GPU_TEMP,
    GPU_TEMP_MARGIN,
    MEMORY_TEMP,
    NVLINK_CRC_FLIT_TOTAL,
    PCIE_REPLAY_COUNTER,
    POWER,
    POWER_LIMIT,
    REMAPPED_UNCORRECTABLE,
    RETIRED_DBE,
    RETIRED_SBE,
    ROW_REMAP_FAILURE,
    ROW_REMAP_PENDING,
)
from schemas.log import Record
from schemas.records import Gpu

GPUS, TICKS, FRAMES = 6, 5, 60
START_MS = 1_767_225_600_000
GAUGES = {
    GPU_TEMP: (40, 79, 81, 86, 91),
    GPU_TEMP_MARGIN: (30, 6, 5, 0, None, None),
    MEMORY_TEMP: (60, 82, 89, 90, 95, None),
    CLOCK_EVENT_REASONS: (0x0, 0x1, 0x4, 0x20, 0x40, 0x80, None),
    POWER: (100, 400, 690),
    POWER_LIMIT: (700, None),
}
STEPS = {  # how much a counter may grow within a second
    ECC_SBE_VOLATILE: (0, 0, 0, 1, 4),
    NVLINK_CRC_FLIT_TOTAL: (0, 0, 0, 30, 900),
    PCIE_REPLAY_COUNTER: (0, 0, 0, 2, 40),
    ECC_DBE_VOLATILE: (0,) * 400 + (1,),
    RETIRED_SBE: (0,) * 40 + (1,),
    RETIRED_DBE: (0,) * 60 + (1,),
    REMAPPED_UNCORRECTABLE: (0,) * 20 + (40,),
    ROW_REMAP_PENDING: (0,) * 500 + (1,),
    ROW_REMAP_FAILURE: (0,) * 900 + (1,),
}


def log(seed: int) -> list[Record]:
    """Frames of one node: values around every limit, blanks, counters that restart."""
    draw = random.Random(seed)
    gpus = [Gpu(uuid=f"GPU-{number}", bdf=f"0000:0{number}:00") for number in range(GPUS)]
    counts = {field: [0] * GPUS for field in STEPS}
    gauges = {field: [draw.choice(choice) for _ in range(GPUS)] for field, choice in GAUGES.items()}
    told = []
    for number in range(FRAMES):
        columns: dict[int, list[float | None]] = {field: [] for field in (*GAUGES, *STEPS)}
        for _ in range(TICKS):
            for gpu in range(GPUS):
                for field, choice in GAUGES.items():
                    if draw.random() < 0.1:
                        gauges[field][gpu] = draw.choice(choice)
                    columns[field].append(gauges[field][gpu])
                for field, steps in STEPS.items():
                    restarts = field in (ECC_SBE_VOLATILE, PCIE_REPLAY_COUNTER) and draw.random() < 0.01
                    counts[field][gpu] = 0 if restarts else counts[field][gpu] + draw.choice(steps)
                    columns[field].append(None if draw.random() < 0.02 else counts[field][gpu])
        ms = START_MS + 5_000 * number
        ticks = [ms + 1_000 * tick for tick in range(TICKS)]
        frame = frames.build(node="n1", seq=number + 1, gpus=gpus, ticks=ticks, columns=columns)
        told.append(Record(number, ms + 4_000, "n1", frames.KIND, frames.encode(frame)))
    end_ms = START_MS + 5_000 * FRAMES
    told.append(Record(FRAMES, end_ms, "", "tick", records.encode(records.Tick(ts=end_ms))))
    return told


@pytest.mark.parametrize("seed", range(4))
def test_both_come_to_the_same_scores_at_every_frame(seed: int) -> None:
    task, python = NodeTask(), PythonFleet(load("default"))
    given = log(seed)
    seen = set()
    for record, later in pairwise(given):
        task.step([record])
        python.frame(record.value)
        settled = NodeTask()  # as it stands once the next timer has let windows expire
        settled.restore(task.checkpoint())
        settled.step([later._replace(kind="tick", value=records.encode(records.Tick(ts=later.ts)))])
        rows = settled.roster.uuid_of
        scores = dict(zip(rows, settled.judges.board.scores(slice(0, len(rows))).tolist(), strict=True))
        assert scores == python.scores
        seen |= set(scores.values())
    assert len(seen) >= 4, "the input must reach several bands to prove anything"
