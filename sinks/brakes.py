"""Metrics of the brakes: storms, how far budgets are used, and operators' words that hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric

from schemas.records import Brakes
from sinks.families import gauge

UNIT = {"node", "rack", "domain", "group", "model"}  # budgets of one unit come and go: no series of their own


def families(brakes: Iterable[Brakes]) -> Iterator[Metric]:
    known = list(brakes)
    yield gauge(
        "gpu_vitals_storm_hold",
        "1 while too much goes wrong at once, and nothing discretionary or disruptive is done.",
        ("cluster",),
        [((each.cluster,), int(each.storm > 0)) for each in known],
    )
    budgets = [(each.cluster, use) for each in known for use in each.budgets if not UNIT & set(use.name.split()[1:2])]
    yield gauge(
        "gpu_vitals_budget_used",
        "GPUs or nodes that count against a budget; hard faults go out regardless, and may pass it.",
        ("cluster", "budget"),
        [((cluster, use.name), use.used) for cluster, use in budgets],
    )
    yield gauge(
        "gpu_vitals_budget_limit",
        "How many may; absent where there is no limit.",
        ("cluster", "budget"),
        [((cluster, use.name), use.limit) for cluster, use in budgets if use.limit is not None],
    )
    yield gauge(
        "gpu_vitals_operator_words",
        "Operators' words that hold now.",
        ("cluster", "what"),
        [((each.cluster, what), count) for each in known for what, count in _words(each).items()],
    )


def _words(brakes: Brakes) -> Counter[str]:
    counts = Counter({"hold": 0, "drain": 0, "override": 0})
    counts.update(word.what for word in brakes.standing)
    return counts
