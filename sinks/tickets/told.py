"""The records that tickets are made of, reduced to what they need; words of a newer version are taken as they are."""

from __future__ import annotations

import msgspec

from schemas import records
from schemas.alerts import needs_person
from schemas.states import Action, CaseState, Step
from sinks.explain import told

Incident = told.Incident
incident = told.incident
Revalidated = told.Revalidated
revalidated = told.revalidated


class Eviction(msgspec.Struct, frozen=True):
    """The case of a GPU. A state or action that we do not know is kept as it is said."""

    ts: int
    node: str
    state: str
    action: str
    cause: str
    opened: int
    cluster: str = "default"
    uuid: str = ""
    bdf: str = ""
    fault: str = ""
    detail: str = ""
    incident: str = ""
    step: str = ""
    waits: str = ""
    deadline: int | None = None
    attempts: int = 0
    by_hand: bool = False

    @property
    def alert(self) -> records.Eviction:
        """For `schemas.alerts`. Raises ValueError: action or step is none that we know."""
        return records.Eviction(
            ts=self.ts,
            cluster=self.cluster,
            node=self.node,
            uuid=self.uuid,
            bdf=self.bdf,
            state=CaseState.DRAINING,  # whether a person is needed does not hang on it
            action=Action(self.action),
            cause=self.cause,
            fault=self.fault,
            opened=self.opened,
            incident=self.incident,
            step=Step(self.step) if self.step else None,
            waits=self.waits,
            deadline=self.deadline,
            by_hand=self.by_hand,
        )

    @property
    def needs_person(self) -> bool:
        try:
            return needs_person(self.alert)
        except ValueError:  # an action of a newer version
            return True


class Prediction(msgspec.Struct, frozen=True):
    ts: int
    node: str
    model: str
    action: str
    cluster: str = "default"
    uuid: str = ""
    bdf: str = ""
    hours: float | None = None
    confidence: float = 0.0
    text: str = ""


class Revalidation(msgspec.Struct, frozen=True):
    start: int
    end: int
    detected: int
    gi: int | None = None
    ci: int | None = None
    confidence: str = ""


class Decision(msgspec.Struct, frozen=True):
    policy: str = ""


eviction = msgspec.json.Decoder(Eviction).decode
prediction = msgspec.json.Decoder(Prediction).decode
revalidation = msgspec.json.Decoder(Revalidation).decode
decision = msgspec.json.Decoder(Decision).decode
inventory = msgspec.json.Decoder(records.Inventory).decode
