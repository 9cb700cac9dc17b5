"""What a GPU-tick costs, workers and broker together, by the size of the fleet and the number of partitions.

Each partition, and each process, costs something whatever it has to do; `more` is what each GPU costs that a row has
more than the row before.
"""

from __future__ import annotations

from benchmarks.kafka_load import Load, broker, made
from benchmarks.kafka_processes import Process
from benchmarks.kafka_sustained import watched

FLEETS = (1_000, 20_000, 200_000, 400_000)  # GPUs
PARTITIONS = (8, 134)
SECONDS = 20.0


def main() -> None:
    print(f"{'':34}{'cores: workers':>16}{'broker':>8}{'us per GPU-tick: all':>22}{'more':>8}")
    with broker() as started:
        for partitions in PARTITIONS:
            smaller, cheaper = 0, 0.0
            for gpus in FLEETS:
                kafka = made(started.bootstrap, f"scale-{gpus}-{partitions}", partitions)
                used = watched(kafka, Load(gpus=gpus), Process(started.pid or 0), SECONDS).shares
                workers, served = used["node"] + used["cluster"], used["broker"]
                cost = 1e6 * (workers + served)
                more = f"{(cost - cheaper) / (gpus - smaller):8.2f}" if smaller else ""
                figures = f"{workers:16.2f}{served:8.2f}{cost / gpus:22.2f}{more}"
                print(f"{gpus:>8} GPUs, {partitions:>3} partitions{'':7}{figures}", flush=True)
                smaller, cheaper = gpus, cost


if __name__ == "__main__":
    main()
