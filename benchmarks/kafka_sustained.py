"""Fleets at 1 Hz, live: does the lag stay flat with broker, load and a worker for each stage on this machine?

GPU_VITALS_BENCH_S=600           how long each is watched, in seconds, once it has come up
GPU_VITALS_BENCH_GPUS=100000,400000,800000
GPU_VITALS_BENCH_PARTITIONS=8,134
"""

from __future__ import annotations

import os
import statistics
import time
from typing import NamedTuple

from benchmarks.kafka_load import Load, broker, made
from benchmarks.kafka_processes import Process, Shares, Worker, generator, wait, worker
from pipeline.kafka.settings import Kafka

FLEETS = [int(each) for each in os.environ.get("GPU_VITALS_BENCH_GPUS", "400000").split(",")]
PARTITIONS = [int(each) for each in os.environ.get("GPU_VITALS_BENCH_PARTITIONS", "134").split(",")]
SECONDS = float(os.environ.get("GPU_VITALS_BENCH_S", "60"))
ROUND_S = 5.0  # the first one makes every GPU known
JOIN = 4_000  # GPUs a second that join: what is first said of a GPU costs more than a minute of its life
COME_UP_S = 120.0  # at most, when all have joined
WATERMARK = "stage_watermark_timestamp_seconds"
FLAT_S = 2.0  # lag beyond which it is not held


class Watched(NamedTuple):
    """up_s: from the first frames until all GPUs are known and decided upon, and the lag is gone.

    lag_s: each second, from append to step of the partition that is furthest behind. behind: records, at the end.
    shares: of a core. late_s: how late the load itself was, at the end.
    """

    up_s: float
    lag_s: list[float]
    behind: int
    shares: dict[str, float]
    late_s: float


def main() -> None:
    heads = f"{'up after':>10}{'lag: p50':>12}{'p99':>8}{'max':>8}{'last':>8}{'records':>10}"
    print(f"{'':34}{heads}   cores: load    node cluster  broker   (lag flat at 800,000)")
    with broker() as started:
        for partitions in PARTITIONS:
            for gpus in FLEETS:
                kafka = made(started.bootstrap, f"fleet-{gpus}-{partitions}", partitions)
                load = Load(gpus=gpus, ramp_s=gpus / JOIN)
                row(gpus, partitions, watched(kafka, load, Process(started.pid or 0)))


def watched(kafka: Kafka, load: Load, broker: Process, seconds: float = SECONDS) -> Watched:
    with (
        worker(kafka, "--stage", "cluster") as cluster,
        worker(kafka, "--stage", "node") as node,
        generator(kafka, load) as fleet,
    ):
        wait(lambda: bool(fleet.newest()), "the load's first second")
        time.sleep(load.ramp_s)
        up_s = load.ramp_s + come_up(node, cluster, kafka.partitions)
        shares = Shares(load=fleet, node=node, cluster=cluster, broker=broker)
        end = time.monotonic() + seconds
        lags = []
        while time.monotonic() < end:
            time.sleep(1.0)
            lags.append(lag_s(node, "node"))
        behind = int(node.number("stage_lag_records", "node"))
        return Watched(up_s, lags, behind, shares.end(), fleet.newest()["late_s"])


def come_up(node: Worker, cluster: Worker, partitions: int) -> float:
    """Seconds until both stages had kept up for a whole round, without that round."""
    began = kept_up = time.monotonic()
    while (now := time.monotonic()) - kept_up < ROUND_S or now - began < 3 * ROUND_S:
        behind_s = lag_s(node, "node")
        if now - began > COME_UP_S:
            raise RuntimeError(f"the fleet has not come up within {COME_UP_S:g} s: {behind_s:.1f} s behind")
        # The cluster stage hears of the node stages every round, if of nothing else.
        known = len(node.metrics().get((WATERMARK, "node"), {})) == partitions
        if not known or behind_s > FLAT_S or lag_s(cluster, "cluster") > FLAT_S + ROUND_S:
            kept_up = time.monotonic()
        time.sleep(0.5)
    return kept_up - began


def lag_s(at_work: Worker, stage: str) -> float:
    """How long ago was appended what the hindmost partition has just stepped."""
    return time.time() - min(at_work.metrics().get((WATERMARK, stage), {}).values(), default=0.0)


def row(gpus: int, partitions: int, found: Watched) -> None:
    half = found.lag_s[len(found.lag_s) // 2 :]
    held = statistics.median(half) < FLAT_S and found.late_s < FLAT_S
    lags = sorted(found.lag_s)
    cuts = statistics.median(lags), lags[int(0.99 * (len(lags) - 1))], lags[-1], found.lag_s[-1]
    shares = "".join(f"{found.shares[name]:8.2f}" for name in ("load", "node", "cluster", "broker"))
    print(
        f"{gpus:>8} GPUs, {partitions:>3} partitions{'':9}{found.up_s:8.0f} s{cuts[0]:10.2f} s"
        + "".join(f"{cut:8.2f}" for cut in cuts[1:])
        + f"{found.behind:10}      {shares}   {'flat' if held else 'NOT HELD'}"
        + (f", the load itself {found.late_s:.1f} s late" if found.late_s >= FLAT_S else ""),
        flush=True,
    )


if __name__ == "__main__":
    main()
