"""Records as the stages write them, for reports."""

from __future__ import annotations

from typing import Any

from schemas import records
from schemas.log import Record
from schemas.records import Reason
from schemas.states import Action, CaseState, Condition
from sinks.report.collect import Collector
from sinks.report.model import Report
from sinks.report.window import DAY_MS, Window

START = 1_767_225_600_000
WEEK = Window(START, START + 7 * DAY_MS)


def reason(signal: str, level: str = "warning", cap: float = 0.7) -> Reason:
    return Reason(signal=signal, level=level, cap=cap, text=f"{signal} is {level}")


class Told:
    """Collects what is said; `report` is what comes of it."""

    def __init__(self, window: Window = WEEK) -> None:
        self.collector = Collector(window)
        self._offset = 0

    def say(self, topic: str, key: str, value: Any, ms: int) -> None:
        data = b"" if value is None else value if isinstance(value, bytes) else records.encode(value)
        self.collector.take(topic, Record(self._offset, ms, key, topic, data))
        self._offset += 1

    def score(self, gpu: str, ms: int, condition: Condition, *reasons: Reason, node: str = "n1") -> None:
        score = records.Score(
            ts=ms, cluster="c", node=node, uuid=gpu, score=1.0, held=1.0, condition=condition, reasons=list(reasons)
        )
        self.say("scores", gpu, score, ms)

    def xid(self, gpu: str, ms: int, code: int, repeat: bool = False, node: str = "n1") -> None:
        xid = records.Xid(
            ts=ms, cluster="c", node=node, uuid=gpu, fault="xid", code=code, severity="critical", response="evict",
            meaning=f"meaning of {code}", repeat=repeat,
        )  # fmt: skip
        self.say("xids", node, xid, ms)

    def case(self, gpu: str, opened: int, fault: str, action: Action = Action.EVICT, **others: Any) -> None:
        told: dict[str, Any] = {"node": "n1", "state": CaseState.DRAINING, "cause": f"{fault} it was", **others}
        eviction = records.Eviction(ts=opened, cluster="c", uuid=gpu, action=action, fault=fault, opened=opened, **told)
        self.say("evictions", gpu, eviction, opened)

    def decision(self, gpu: str, ms: int, weight: float, held_by: str = "", cause: str = "", node: str = "n1") -> None:
        decision = records.Decision(
            ts=ms, cluster="c", node=node, uuid=gpu, weight=weight, score=weight, condition=Condition.HEALTHY,
            state=CaseState.IN_SERVICE, held_by=held_by, cause=cause,
        )  # fmt: skip
        self.say("decisions", gpu, decision, ms)

    def report(self) -> Report:
        return self.collector.report("a test", incidents_known=True, notes=[])
