"""What a fleet at 1 Hz needs: memory of the workers, bytes on the network and on the broker's disk, per 1,000 GPUs."""

from __future__ import annotations

import math
import time
from pathlib import Path

from benchmarks.kafka_load import Load, broker, made
from benchmarks.kafka_processes import Process, Shares, generator, wait, worker
from benchmarks.kafka_sustained import come_up
from benchmarks.run_cost import resident_mib
from schemas.topics import CHECKPOINTS, OBSERVATIONS

FLEETS = (1_000, 10_000, 100_000)  # GPUs
GPUS_A_PARTITION = 6_000
SECONDS = 60.0
DAY_S = 86_400


def main() -> None:
    print(
        f"{'':34}{'MiB: node':>12}{'cluster':>9}{'observations: kB/s':>20}{'GB/day':>8}{'states: kB/s':>14}"
        f"{'cores: node':>13}{'cluster':>9}{'broker':>8}   (bytes per 1,000 GPUs)"
    )
    with broker() as started:
        for gpus in FLEETS:
            partitions = math.ceil(gpus / GPUS_A_PARTITION)
            kafka = made(started.bootstrap, f"sizing-{gpus}", partitions)
            with (
                worker(kafka, "--stage", "cluster") as cluster,
                worker(kafka, "--stage", "node") as node,
                generator(kafka, Load(gpus=gpus)) as fleet,
            ):
                wait(lambda fleet=fleet: bool(fleet.newest()), "the load's first second")
                come_up(node, cluster, partitions)
                shares = Shares(node=node, cluster=cluster, broker=Process(started.pid or 0))
                before = sizes(started.directory, kafka.prefix)
                time.sleep(SECONDS)
                after = sizes(started.directory, kafka.prefix)
                cores = shares.end()
                rates = {topic: (after[topic] - before[topic]) / SECONDS / gpus for topic in after}  # kB/s, of 1,000
                row(gpus, partitions, [resident_mib(each.pid) for each in (node, cluster)], rates, cores)


def row(gpus: int, partitions: int, mib: list[float], rates: dict[str, float], cores: dict[str, float]) -> None:
    observations, states = rates[OBSERVATIONS], rates[CHECKPOINTS]
    print(
        f"{gpus:>8} GPUs, {partitions:>3} partitions{'':7}{mib[0]:12.0f}{mib[1]:9.0f}"
        f"{observations:20.1f}{observations * DAY_S / 1e6:8.2f}{states:14.2f}"
        f"{cores['node']:13.2f}{cores['cluster']:9.2f}{cores['broker']:8.2f}",
        flush=True,
    )


def sizes(directory: Path, prefix: str) -> dict[str, int]:
    """Bytes that the broker holds of a topic, compressed as they travelled."""
    return {
        topic: sum(segment.stat().st_size for segment in directory.rglob(f"{prefix}{topic}-*/*.log"))
        for topic in (OBSERVATIONS, CHECKPOINTS)
    }


if __name__ == "__main__":
    main()
