"""The actionable alerts of a window, by the one rule for them (`schemas.alerts`)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec

from schemas import alerts
from schemas.records import Eviction
from sinks.report import told
from sinks.report.model import Alert, Alerts
from sinks.report.window import DAY_MS, Window

LISTED = 10_000
DAYS_SHOWN = 400


class AlertCount:
    """Takes cases and predictions in the order of the log, GPU by GPU. cases: opened in the window, by GPU."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._open: dict[str, tuple[int, str, bool]] = {}  # GPU -> its newest case: opened, fault, needs a person
        self._ordered: dict[str, str] = {}  # GPU -> what the newest prediction orders
        self._alerts: dict[str, Alert] = {}
        self._standing: dict[tuple[str, int], tuple[str, str]] = {}  # a case that needs a person: its step, its wait
        self._automatic: Counter[str] = Counter()
        self.cases: Counter[str] = Counter()

    def case(self, key: str, eviction: Eviction) -> None:
        opened, _, needed = self._open.get(key, (-1, "", False))
        if eviction.opened < opened:
            return
        if eviction.opened > opened:
            self._ends(key)
            needed = False
            self.cases[key] += self._window.has(eviction.opened)
        needs = needed or alerts.needs_person(eviction)
        self._open[key] = eviction.opened, eviction.fault or "unnamed", needs
        if needs:
            self._standing[key, eviction.opened] = str(eviction.step or ""), eviction.waits
        if needs and not needed and self._window.has(eviction.opened):
            alert = Alert(
                eviction.opened,
                "case",
                eviction.node,
                key,
                str(eviction.action),
                eviction.cause,
                incident=eviction.incident,
            )
            self._add(alerts.alert_id(eviction), alert)

    def prediction(self, key: str, prediction: told.Prediction | None, ms: int) -> None:
        """None: nothing is foretold any more."""
        action = prediction.action if prediction else ""
        before = self._ordered.get(key, "")
        self._ordered[key] = action
        if prediction and action != before and alerts.orders(action) and self._window.has(ms):
            alert = Alert(ms, "prediction", prediction.node, key, action, prediction.text or "failure foreseen")
            self._add(f"prediction {key} {action} {ms}", alert)

    def finish(self, gpu_hours: float) -> Alerts:
        for key in list(self._open):
            self._ends(key)
        every = sorted(map(self._as_it_stands, self._alerts.values()), key=lambda alert: (alert.ts, alert.gpu))
        days = gpu_hours / 24.0 / 1000.0
        return Alerts(
            count=len(every),
            per_day=len(every) / days if days else None,
            budget=alerts.BUDGET_PER_DAY_AND_1000_GPUS,
            by_day=self._by_day(every),
            listed=every[:LISTED],
            more=max(len(every) - LISTED, 0),
            automatic=dict(sorted(self._automatic.items())),
        )

    def _add(self, id: str, alert: Alert) -> None:
        known = self._alerts.get(id)
        if known is None:
            self._alerts[id] = alert
        else:
            first = min(known, alert, key=lambda each: each.ts)
            self._alerts[id] = msgspec.structs.replace(first, gpus=known.gpus + 1)

    def _as_it_stands(self, alert: Alert) -> Alert:
        step, waits = self._standing.get((alert.gpu, alert.ts), ("", ""))
        return msgspec.structs.replace(alert, step=step, waits=waits)

    def _ends(self, key: str) -> None:
        opened, fault, needs = self._open.pop(key, (-1, "", True))
        if not needs and self._window.has(opened):
            self._automatic[fault] += 1

    def _by_day(self, every: list[Alert]) -> list[tuple[str, int]]:
        counts = Counter(_day(alert.ts) for alert in every)
        if not self._window.end > self._window.start:
            return []
        first = datetime.fromtimestamp(self._window.start / 1000, UTC).date()
        days = min((self._window.end - 1) // DAY_MS - self._window.start // DAY_MS + 1, DAYS_SHOWN)
        names = [(first + timedelta(days=day)).isoformat() for day in range(days)]
        return [(name, counts[name]) for name in names]


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).date().isoformat()
