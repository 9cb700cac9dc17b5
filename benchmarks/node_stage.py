"""Frames -> scores: GPU-ticks a second of one core, beside the same rules in plain Python.

A GPU-tick is one GPU at one second with 20 fields; decoding is included.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

from benchmarks.baseline import PythonFleet
from benchmarks.fleets import GPUS, TICKS, fleet
from pipeline.policies import load
from processors.node import NodeTask
from processors.signal import Signal, discover
from schemas import frames
from schemas.log import Record

SMALL = (8, 32)  # frames a batch, as one of many partitions of a log hands them over
FIRST = (  # the signals that the stage began with: what all those that came since cost is told beside them
    "blanks",
    "clocks",
    "correctable_ecc",
    "nvlink_crc",
    "pcie_replay",
    "presence",
    "remapped_rows",
    "retired_pages",
    "row_remap",
    "temperature",
    "temperature_margin",
    "uncorrectable_ecc",
    "xid",
    "xid_rate",
)
ROUNDS = 5  # the best of them counts: what the code costs, not what else the machine does


def best_ns(run: Callable[[], object], gpu_ticks: int) -> float:
    times = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        run()
        times.append(time.process_time_ns() - start)
    return min(times) / gpu_ticks


def stage_ns(log: Sequence[Record], nodes: int, batch: int, signals: tuple[Signal, ...] | None = None) -> float:
    """A fleet of `nodes`, in batches of `batch` frames; timers of the stage fire once per frame of a node."""
    warm = nodes * 3
    measured = log[warm:]

    def run() -> None:
        task = tasks.pop()
        for start in range(0, len(measured), batch):
            task.step(measured[start : start + batch])

    tasks = [NodeTask(signals=signals) for _ in range(ROUNDS)]
    for task in tasks:
        task.step(log[:warm])
    gc.collect()
    gc.freeze()  # the log that waits in memory is no garbage of the stage's
    try:
        return best_ns(run, len(measured) * GPUS * TICKS)
    finally:
        gc.unfreeze()


def decode_ns(log: Sequence[Record]) -> float:
    """What merely reading the frames with the wire types costs."""

    def run() -> None:
        for record in log:
            frames.decode(record.value)

    return best_ns(run, len(log) * GPUS * TICKS)


def baseline_ns(log: Sequence[Record]) -> float:
    python = PythonFleet(load("default"))
    for record in log[:25]:
        python.frame(record.value)
    start = time.process_time_ns()
    for record in log[25:]:
        python.frame(record.value)
    return (time.process_time_ns() - start) / ((len(log) - 25) * GPUS * TICKS)


def main() -> None:
    first = tuple(signal for signal in discover() if signal.name in FIRST)
    print(f"{'node stage, one core':48}{'M GPU-ticks/s':>15}{'ns/GPU-tick':>13}{'x plain Python':>16}")
    for moving in (False, True):
        kind = "five counters move" if moving else "quiet"
        python = baseline_ns(fleet(25, 60, moving=moving))
        row(f"plain Python, one GPU at a time, {kind}", python, python)
        for gpus, seconds in ((200, 200), (1000, 100), (6000, 50)):
            nodes = gpus // GPUS
            log = fleet(nodes, seconds, moving=moving)
            if gpus == 1000:
                for batch in SMALL:
                    what = f"1000 GPUs, batches of {batch} frames, {kind}"
                    row(what, stage_ns(log, nodes, batch), python)
            few, all_ = stage_ns(log, nodes, nodes, first), stage_ns(log, nodes, nodes)
            row(f"waves of {gpus} GPUs, {kind}, {len(first)} signals", few, python)
            row(f"waves of {gpus} GPUs, {kind}, all {len(discover())}", all_, python)
            print(f"{'':48}{few / all_:15.2f} of the rate with {len(first)}")
        row("merely decoding the frames", decode_ns(log[:2000]), python)


def row(what: str, ns: float, python: float) -> None:
    print(f"{what:48}{1e3 / ns:15.3f}{ns:13.0f}{python / ns:16.1f}", flush=True)


if __name__ == "__main__":
    main()
