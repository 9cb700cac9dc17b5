"""Bytewax, in an environment of its own: a stateful map over a stream that is keyed by GPU.

$ python benchmarks/rivals/bytewax_rates.py BOOTSTRAP TOPIC WARM COUNT
"""

from __future__ import annotations

import sys
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from rate import Meter, update


class Counted(StatelessSinkPartition[Any]):
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def write_batch(self, items: list[Any]) -> None:
        for _ in items:
            self._meter.add()


class Sink(DynamicSink[Any]):
    """Counts, and keeps nothing."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Counted:
        return Counted(self._meter)


def keyed(message: Any) -> tuple[str, dict[str, Any]]:
    sample = orjson.loads(message.value)
    return sample["uuid"], sample


def rate(state: dict[str, Any] | None, sample: dict[str, Any]) -> tuple[dict[str, Any], float]:
    state = {} if state is None else state
    return state, update(state, sample)


def main(bootstrap: str, topic: str, warm: str, count: str) -> None:
    flow = Dataflow("rates")
    messages = op.input("messages", flow, KafkaSource([bootstrap], [topic], tail=False, batch_size=1_000))
    samples = op.map("keyed", messages, keyed)
    op.output("counted", op.stateful_map("rate", samples, rate), Sink(Meter(int(warm), int(count))))
    run_main(flow)


if __name__ == "__main__":
    main(*sys.argv[1:])
