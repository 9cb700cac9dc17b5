"""What has changed about one GPU, in the order of the log: each record that says something new becomes a line."""

from __future__ import annotations

from schemas import topics
from schemas.records import Decision, Eviction, Score, Xid
from schemas.states import CaseState
from sinks.explain import told
from sinks.explain.model import Change

SHOWN = 60
ORDER = (
    topics.XIDS,
    "incidents",
    topics.SCORES,
    "predictions",
    "revalidations",
    "revalidated",
    topics.EVICTIONS,
    topics.DECISIONS,
)
KEPT = 20_000  # lines, before the newest ones are chosen: more than any GPU causes in a month


class Timeline:
    """Topics may come one after the other; what is told of one topic comes in the order of its log."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._dropped = 0
        self._decision: Decision | None = None
        self._score: Score | None = None
        self._incidents: dict[str, tuple[str, int]] = {}
        self._prediction = ""

    def decision(self, ts: int, decision: Decision | None) -> None:
        before, self._decision = self._decision, decision
        if decision is None:
            self._add(ts, topics.DECISIONS, "nothing is decided under this name any more")
            return
        weight = f"weight {decision.weight:g}"
        if before and before.weight != decision.weight:
            weight = f"weight {before.weight:g} -> {decision.weight:g}"
        state = decision.state if decision.state is not CaseState.IN_SERVICE or before else CaseState.IN_SERVICE
        held = f", held back by {decision.held_by}" if decision.held_by else ""
        new = (decision.weight, decision.state, decision.action, decision.held_by, decision.policy)
        if before and new == (before.weight, before.state, before.action, before.held_by, before.policy):
            return
        policy = f", policy {decision.policy}" if before is None or before.policy != decision.policy else ""
        self._add(ts, topics.DECISIONS, f"{weight}, {state}, {decision.action}{held}{policy}")

    def score(self, ts: int, score: Score | None) -> None:
        before, self._score = self._score, score
        if score is None:
            self._add(ts, topics.SCORES, "not judged under this name any more")
            return
        why = "; ".join(reason.text or f"{reason.signal}: {reason.level}" for reason in score.reasons)
        change = f"{before.condition} -> {score.condition}" if before and before.condition != score.condition else ""
        self._add(ts, topics.SCORES, f"score {score.score:g}, {change or score.condition}{f': {why}' if why else ''}")

    def case(self, ts: int, eviction: Eviction) -> None:
        waits = f"; waits: {eviction.waits}" if eviction.waits else ""
        what = f"{eviction.action}: {eviction.detail or eviction.cause}{waits}"
        self._add(ts, topics.EVICTIONS, f"case {eviction.step or eviction.state}, {what}")

    def xid(self, ts: int, xid: Xid) -> None:
        """Repeats are counted elsewhere, and are no news."""
        if not xid.repeat:
            name = f"Xid {xid.code}" if xid.code is not None and xid.fault == "xid" else xid.fault
            self._add(ts, topics.XIDS, f"{name}: {xid.meaning}, response {xid.response.replace('_', ' ')}")

    def incident(self, ts: int, incident: told.Incident) -> None:
        before = self._incidents.get(incident.id)
        now = (f"merged into {incident.into}" if incident.into else incident.state), incident.reopened
        self._incidents[incident.id] = now
        if before == now:
            return
        again = before and incident.reopened > before[1]
        self._add(ts, "incidents", f"incident {incident.id} {'open again' if again else now[0]}: {incident.text}")

    def prediction(self, ts: int, prediction: told.Prediction | None) -> None:
        action = prediction.action if prediction else ""
        if action != self._prediction:
            self._prediction = action
            text = prediction.text if prediction else "nothing is foretold any more"
            self._add(ts, "predictions", f"{action}: {text}".removeprefix(": "))

    def revalidation(self, ts: int, revalidation: told.Revalidation) -> None:
        self._add(ts, "revalidations", f"outputs are to be checked again, {revalidation.confidence or 'suspected'}")

    def revalidated(self, ts: int, answer: told.Revalidated) -> None:
        self._add(ts, "revalidated", f"outputs were checked again: {answer.text}")

    def newest(self, most: int = SHOWN) -> tuple[list[Change], int]:
        """Newest first, and how many older ones there are."""
        ordered = sorted(self._changes, key=_moment)[::-1]
        return ordered[:most], max(len(ordered) - most, 0) + self._dropped

    def _add(self, ts: int, topic: str, text: str) -> None:
        self._changes.append(Change(ts=ts, topic=topic, text=text))
        if len(self._changes) > 2 * KEPT:
            self._changes.sort(key=_moment)
            self._dropped += len(self._changes) - KEPT
            del self._changes[:-KEPT]


def _moment(change: Change) -> tuple[int, int]:
    """Of one moment causes come before what they lead to, however the topics were read."""
    return change.ts, ORDER.index(change.topic)
