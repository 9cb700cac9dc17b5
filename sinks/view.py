"""The state behind the live view: newest score, decision and case of each GPU, latest events and decisions."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from schemas import records, topics
from schemas.log import Record
from schemas.states import CaseState

LATEST = 100  # events and decisions remembered: more than a screen shows


class Facts(NamedTuple):
    """What the pipeline says of itself. event_ms: time of the newest record judged, 0 before the first.

    notes: what a user must know (a source that fails, an outage), most important first.
    """

    what: str
    policy: str
    running_s: float
    event_ms: int = 0
    notes: Sequence[str] = ()


class Change(NamedTuple):
    """A decision, and the weight that the GPU had before."""

    before: float
    decision: records.Decision


class View:
    """The state behind the screen: newest score and decision of each GPU, latest events and decisions."""

    def __init__(self) -> None:
        self.scores: dict[str, records.Score] = {}
        self.decisions: dict[str, records.Decision] = {}
        self.cases: dict[str, records.Eviction] = {}  # of GPUs that are out
        self.events: deque[records.Xid] = deque(maxlen=LATEST)
        self.changes: deque[Change] = deque(maxlen=LATEST)

    def take(self, topic: str, record: Record) -> None:
        """Raises ValueError for a record that cannot be read."""
        if topic == topics.XIDS:
            self.events.append(_xid(record.value))
        elif topic == topics.EVICTIONS:
            self._case(record)
        elif not record.value:
            (self.scores if topic == topics.SCORES else self.decisions).pop(record.key, None)
        elif topic == topics.SCORES:
            self.scores[record.key] = _score(record.value)
        else:
            self._decided(record.key, _decision(record.value))

    def _case(self, record: Record) -> None:
        case = _eviction(record.value) if record.value else None
        self.cases.pop(record.key, None)
        if case is not None and case.state is not CaseState.IN_SERVICE:
            self.cases[record.key] = case

    def _decided(self, key: str, decision: records.Decision) -> None:
        known = self.decisions.get(key)
        self.decisions[key] = decision
        first_and_fine = known is None and decision.weight == 1.0 and decision.state is CaseState.IN_SERVICE
        if not first_and_fine:  # a fleet that comes up is not news
            self.changes.append(Change(known.weight if known else 1.0, decision))


_score = msgspec.json.Decoder(records.Score).decode
_eviction = msgspec.json.Decoder(records.Eviction).decode
_decision = msgspec.json.Decoder(records.Decision).decode
_xid = msgspec.json.Decoder(records.Xid).decode
