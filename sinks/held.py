"""What is decided and does not happen yet: of each GPU what holds its decision back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec
from prometheus_client.core import Metric

from schemas.log import Record
from sinks.families import gauge

BRAKES = ("budget", "storm", "hold", "override")  # as `Decision.held_by` begins; then of what, behind a colon
OTHER = "other"


class Held:
    """Of each GPU what holds its decision back. Takes records of `decisions`."""

    def __init__(self) -> None:
        self._by_key: dict[str, str] = {}

    def take(self, record: Record) -> None:
        """Raises ValueError: it cannot be read."""
        by = _decision(record.value).held_by if record.value else ""
        self._by_key.pop(record.key, None)
        if by:
            kind = by.partition(":")[0]
            self._by_key[record.key] = kind if kind in BRAKES else OTHER

    def counts(self) -> Counter[str]:
        return Counter(self._by_key.values())


def held(counts: Mapping[str, int]) -> Iterator[Metric]:
    yield gauge(
        "gpu_vitals_gpus_held",
        "GPUs whose decision is held back, by what holds it.",
        ("by",),
        [((by,), counts.get(by, 0)) for by in (*BRAKES, OTHER)],
    )


class _Decision(msgspec.Struct):
    held_by: str = ""


_decision = msgspec.json.Decoder(_Decision).decode
