"""Records of the topic `evictions`, as the cluster stage writes them."""

from __future__ import annotations

from schemas import topics
from schemas.log import Record
from schemas.records import Eviction, Order, encode
from schemas.states import Action, CaseState, Step

NOW = 1_767_225_600_000
LIFE_MS = 600_000


def order(id_="o1", action="reset", at=NOW, **more):
    fields = {"id": id_, "action": action, "boot": "b1", "sequence": at, "expires": at + LIFE_MS, **more}
    return Order(**fields)


def eviction(gpu=1, ts=NOW, node="n1", order=None, cancel="", **more):
    fields = {
        "ts": ts,
        "cluster": "c1",
        "node": node,
        "uuid": f"GPU-{gpu}",
        "bdf": f"0000:1{gpu}:00",
        "state": CaseState.DRAINED,
        "step": Step.RESETTING if order else Step.DRAINED,
        "action": Action.EVICT,
        "cause": "Xid 48",
        "fault": "xid_48",
        "opened": NOW - 60_000,
        "incident": "inc-1",
        "order": order,
        "cancel": cancel,
        **more,
    }
    return Eviction(**fields)


def record(offset, made, key="GPU-1"):
    """made: None = a tombstone."""
    if made is None:
        return Record(offset, NOW, key, "tombstone", b"")
    return Record(offset, made.ts, made.uuid, "eviction", encode(made))


TOPIC = topics.EVICTIONS
