"""What a GPU-tick costs, workers and broker together, by the size of the fleet and the number of partitions."""

from __future__ import annotations

from benchmarks.kafka_load import Load, broker, made
from benchmarks.kafka_processes import Process
from benchmarks.kafka_sustained import watched

FLEETS = (1_000, 20_000, 200_000)  # GPUs
PARTITIONS = (8, 134)
SECONDS = 10.0


def main() -> None:
    print(f"{'':34}{'us per GPU-tick: workers':>24}{'broker':>10}{'both':>10}{'x cheapest':>12}   (at most 1.5)")
    with broker() as started:
        costs: dict[tuple[int, int], float] = {}
        for partitions in PARTITIONS:
            for gpus in FLEETS:
                kafka = made(started.bootstrap, f"scale-{gpus}-{partitions}", partitions)
                used = watched(kafka, Load(gpus=gpus), Process(started.pid or 0), SECONDS).shares
                workers, served = (1e6 * share / gpus for share in (used["node"] + used["cluster"], used["broker"]))
                cost = costs[partitions, gpus] = workers + served
                print(
                    f"{gpus:>8} GPUs, {partitions:>3} partitions{'':7}{workers:24.2f}{served:10.2f}{cost:10.2f}"
                    f"{cost / min(costs.values()):12.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
