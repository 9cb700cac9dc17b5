"""What nodes have answered to commands, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec
from prometheus_client.core import Metric

from schemas import records
from schemas.log import Record
from sinks.families import counter

ACTIONS = ("reset", "diagnose", "cancel")
STATES = ("refused", "dry-run", "started", "done", "failed", "indeterminate", "cancelled")
OTHER = "other"  # anybody may say anything: a label must not grow with it
REPEATED = "repeated"  # a refusal that says nothing of the command: it was sent again
REMEMBERED = 4096  # results of late, of which any may come again


class Results:
    """What became of commands: each state of each command once, however often it is said."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str, str], None] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def take(self, record: Record) -> None:
        """Raises ValueError: it cannot be read."""
        result = _result(record.value)
        said = result.node, result.id, result.state
        if said in self._said or result.reason == REPEATED:
            return
        self._said[said] = None
        if len(self._said) > REMEMBERED:
            del self._said[next(iter(self._said))]
        action = result.action if result.action in ACTIONS else OTHER
        self.counts[action, result.state if result.state in STATES else OTHER] += 1


def results(counts: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    yield counter(
        "gpu_vitals_order_results",
        "What nodes have answered to commands, each answer once.",
        ("action", "state"),
        counts.items(),
    )


_result = msgspec.json.Decoder(records.CommandResult).decode
