"""What decisions cost: GPU-hours without traffic, and removals that were held back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import nsmallest

from sinks.report import told
from sinks.report.model import Capacity, Held, Worst
from sinks.report.window import HOUR_MS, Window

WORST = 10
HELD_LISTED = 200


class _Gpu:
    __slots__ = ("cause", "held", "held_cause", "held_since", "lost_ms", "node", "since", "weight")

    def __init__(self, node: str, since: int) -> None:
        self.node = node
        self.since = since
        self.weight: float | None = None  # None: not there
        self.lost_ms = 0.0
        self.cause = ""
        self.held = self.held_cause = ""
        self.held_since = 0


class Lost:
    """Takes decisions in the order of the log, GPU by GPU."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._gpus: dict[str, _Gpu] = {}
        self._hours = self._out_hours = 0.0
        self.held: list[Held] = []
        self.held_more = 0

    def take(self, key: str, decision: told.Decision | None, ms: int) -> None:
        """None: nothing is decided about the key any more."""
        gpu = self._gpus.get(key)
        if gpu is None:
            if decision is None:
                return
            gpu = self._gpus[key] = _Gpu(decision.node, ms)
        self._close(key, gpu, ms)
        gpu.weight = decision.weight if decision else None
        held = decision.held_by if decision else ""
        if held != gpu.held:
            if gpu.held:
                self._let_go(key, gpu, ms)
            gpu.held, gpu.held_since = held, ms
        if decision is None:
            return
        gpu.node = decision.node
        why = decision.cause or next((reason.text or reason.signal for reason in decision.reasons), "")
        if decision.weight < 1.0 and why:
            gpu.cause = why
        if held:
            gpu.held_cause = why

    def finish(self) -> None:
        for key, gpu in self._gpus.items():
            self._close(key, gpu, self._window.end)
            if gpu.held:
                self._let_go(key, gpu, 0)

    def capacity(self) -> Capacity:
        lost = sum(gpu.lost_ms for gpu in self._gpus.values()) / HOUR_MS
        return Capacity(self._hours, self._out_hours, lost, lost / self._hours if self._hours else 0.0)

    def worst_gpus(self, cases: Mapping[str, int]) -> list[Worst]:
        found = (
            Worst(key, gpu.node, gpu.lost_ms / HOUR_MS, cases.get(key, 0), gpu.cause)
            for key, gpu in self._gpus.items()
            if gpu.lost_ms
        )
        return nsmallest(WORST, found, key=lambda worst: (-worst.lost_hours, worst.name))

    def worst_nodes(self, cases: Mapping[str, int]) -> list[Worst]:
        nodes: dict[str, Worst] = {}
        for key, gpu in sorted(self._gpus.items()):
            before = nodes.get(gpu.node, Worst(gpu.node, gpu.node, 0.0, 0, ""))
            nodes[gpu.node] = Worst(
                gpu.node,
                gpu.node,
                before.lost_hours + gpu.lost_ms / HOUR_MS,
                before.cases + cases.get(key, 0),
                before.cause or (gpu.cause if gpu.lost_ms else ""),
            )
        lost = (node for node in nodes.values() if node.lost_hours)
        return nsmallest(WORST, lost, key=lambda worst: (-worst.lost_hours, worst.name))

    def keys(self) -> Iterator[tuple[str, str]]:
        """Each GPU that was decided about, and its node."""
        return ((key, gpu.node) for key, gpu in self._gpus.items())

    def _close(self, key: str, gpu: _Gpu, until: int) -> None:
        start, end = max(gpu.since, self._window.start), min(until, self._window.end)
        if gpu.weight is not None and end > start:
            hours = (end - start) / HOUR_MS
            self._hours += hours
            self._out_hours += hours if gpu.weight == 0.0 else 0.0
            gpu.lost_ms += (1.0 - gpu.weight) * (end - start)
        gpu.since = max(until, gpu.since)

    def _let_go(self, key: str, gpu: _Gpu, until: int) -> None:
        if gpu.held_since >= self._window.end or 0 < until <= self._window.start:
            return
        if len(self.held) < HELD_LISTED:
            over = until if until < self._window.end else 0
            self.held.append(Held(gpu.held_since, over, key, gpu.node, gpu.held, gpu.held_cause))
        else:
            self.held_more += 1
