"""From a kernel line to Kafka's acknowledgement, on a node whose 8 GPUs send their telemetry beside it."""

from __future__ import annotations

import statistics
import time

from benchmarks.agent_cost import node
from benchmarks.kafka_load import broker, made

LINES, WARM_LINES, WARM_S = 200, 50, 10
P99_MS = 20


def main() -> None:
    with broker() as started, node(made(started.bootstrap, "line", 1)) as measured:
        time.sleep(WARM_S)
        measured.ask(f"faults {WARM_LINES}")
        cuts = statistics.quantiles(measured.ask(f"faults {LINES}"), n=100)
    p50, p90, p99 = cuts[49], cuts[89], cuts[98]
    print(f"kernel line -> acknowledged, {LINES} lines: p50 {p50:.1f} ms, p90 {p90:.1f} ms", end="")
    print(f", p99 {p99:.1f} ms (at most {P99_MS})")


if __name__ == "__main__":
    main()
