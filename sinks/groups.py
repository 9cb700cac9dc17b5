"""Metrics of tensor-parallel groups: how much of the expected bandwidth each has, and how it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from schemas.records import GroupVerdict
from sinks.families import gauge

LABELS = ("group", "model")


def families(verdicts: Iterable[GroupVerdict]) -> Iterator[Metric]:
    known = list(verdicts)
    yield gauge(
        "gpu_vitals_group_bandwidth_ratio",
        "Bandwidth of a tensor-parallel group's worst pair of GPUs by what is expected; absent while unknown.",
        LABELS,
        [((each.group, each.model), ratio) for each in known if (ratio := _ratio(each)) is not None],
    )
    yield gauge(
        "gpu_vitals_group_action",
        "What shall be done about a tensor-parallel group, by its condition: 1 for what holds now.",
        (*LABELS, "condition", "action"),
        [((each.group, each.model, each.condition.value, each.action.value), 1) for each in known],
    )


def _ratio(verdict: GroupVerdict) -> float | None:
    if verdict.all_reduce_gb_per_s is None:
        return None
    if verdict.basis == "lost":
        return 0.0
    return verdict.all_reduce_gb_per_s / verdict.expected_gb_per_s if verdict.expected_gb_per_s else None
