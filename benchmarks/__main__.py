"""All benchmarks, one after the other: `python -m benchmarks [NAME ...]`."""

from __future__ import annotations

import importlib
import sys

NAMES = (
    "node_stage",
    "cluster_stage",
    "cluster_groups",
    "weights",
    "prediction",
    "run_cost",
    "startup",
    "agent_cost",
    "agent_latency",
    "agent_memory",
    "nvml_cost",
    "kafka_backlog",
    "kafka_faust",
    "kafka_streams_others",
    "kafka_sustained",
    "kafka_latency",
    "kafka_restart",
    "kafka_scale",
    "kafka_sizing",
)


def main(names: list[str]) -> None:
    for name in names or NAMES:
        print(f"\n== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
