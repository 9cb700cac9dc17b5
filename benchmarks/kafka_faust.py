"""Beside idiomatic Faust: a message for each GPU and tick, an agent, a table that every event updates.

Faust computes one rate (correctable errors an hour); ours judges by all signals. Both per second of processor time:
Faust's process, and that of the node stage.
"""

from __future__ import annotations

import asyncio
import sys

from benchmarks import kafka_samples
from benchmarks.kafka_backlog import KINDS, Rate, measured, prepared
from benchmarks.kafka_load import broker
from benchmarks.kafka_samples import PARTITIONS, TOPIC, rate_of
from benchmarks.rivals import faust_rates

WARM, COUNT = 4_000, 44_000  # messages
SECONDS = {False: 1_500, True: 900}  # of ours
TARGET = 400


def main() -> None:
    with broker() as started:
        bootstrap = started.bootstrap
        asyncio.run(kafka_samples.create(bootstrap, TOPIC, faust_rates.CHANGELOG))
        asyncio.run(kafka_samples.publish(bootstrap, COUNT))
        argv = [sys.executable, "-m", "benchmarks.rivals.faust_rates", bootstrap, TOPIC, str(PARTITIONS)]
        faust = rate_of([*argv, str(WARM), str(COUNT)])
        row("Faust, one rate", faust, faust)
        for moving, kind in KINDS.items():
            row(
                f"ours, all signals, {kind}",
                measured(*prepared(bootstrap, SECONDS[moving], moving=moving)),
                faust,
                TARGET,
            )


def row(what: str, found: Rate, other: Rate, target: int = 0) -> None:
    times = found.per_cpu_s / other.per_cpu_s
    wanted = f"   (at least {target} x)" if target else ""
    print(
        f"{what:44}{found.per_s:12,.0f} GPU-ticks/s{found.per_cpu_s:12,.0f} per CPU second{times:8.1f} x{wanted}",
        flush=True,
    )


if __name__ == "__main__":
    main()
