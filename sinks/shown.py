"""A decision as readers outside get it, the same on every way: HTTP, server-sent events, webhook, JSON lines.

    {"offset":41,"origin":"0/cluster/0/17/0","ts":1767225600000,"key":"GPU-...","cluster":"default","node":"n1",
     "uuid":"GPU-...","bdf":"0000:18:00","weight":0.0,"score":0.0,"state":"draining","action":"evict",
     "condition":"failed","held_by":"","cause":"Xid 79: ...","reasons":["Xid 79: ..."],"policy":"default@...",
     "incident":"n1/0000:18:00/bus/1767225600000"}

`instances` is there where MIG instances deserve less than the GPU. Of a key under which nothing is known any more:
offset, origin, ts, key and `"gone":true`.
"""

from __future__ import annotations

import msgspec

from schemas import records
from schemas.log import Record
from schemas.states import Action, CaseState, Condition


class ShownInstance(msgspec.Struct, frozen=True):
    """A MIG instance; ci null: all of the GPU instance."""

    gi: int
    ci: int | None
    weight: float
    score: float
    condition: Condition
    reasons: list[str]


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is decided about one GPU. offset: in the topic; origin: what orders it and tells doubles.

    incident: the key on topic `incidents` of what the GPU is part of, else empty.
    """

    offset: int
    origin: str
    ts: int
    key: str
    cluster: str
    node: str
    uuid: str
    bdf: str
    weight: float
    score: float
    state: CaseState
    action: Action
    condition: Condition
    held_by: str
    cause: str
    reasons: list[str]
    policy: str
    incident: str
    instances: list[ShownInstance] = []


class Gone(msgspec.Struct, frozen=True):
    """Nothing is known under this key any more: the GPU has left, or is known by its UUID now."""

    offset: int
    origin: str
    ts: int
    key: str
    gone: bool = True


def shown(record: Record) -> Shown | Gone:
    """Raises ValueError: it cannot be read."""
    origin = str(record.origin or "")
    if not record.value:
        return Gone(record.offset, origin, record.ts, record.key)
    decision = _decode(record.value)
    return Shown(
        offset=record.offset,
        origin=origin,
        ts=decision.ts,
        key=record.key,
        cluster=decision.cluster,
        node=decision.node,
        uuid=decision.uuid,
        bdf=decision.bdf,
        weight=decision.weight,
        score=decision.score,
        state=decision.state,
        action=decision.action,
        condition=decision.condition,
        held_by=decision.held_by,
        cause=decision.cause,
        reasons=_words(decision.reasons),
        policy=decision.policy,
        incident=decision.incident,
        instances=[_instance(one) for one in decision.instances],
    )


def _instance(one: records.InstanceHealth) -> ShownInstance:
    weight = 0.0 if one.weight is None else one.weight
    return ShownInstance(one.gi, one.ci, weight, one.score, one.condition, _words(one.reasons))


def _words(reasons: list[records.Reason]) -> list[str]:
    return [reason.text or f"{reason.signal}: {reason.level}" for reason in reasons]


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(records.Decision).decode
