"""The policy: every signal's and stage's own thresholds, composed into one document, versioned by its content."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Annotated, Any

import msgspec

from processors import cluster_policy
from processors.prediction import policy as prediction_policy
from processors.signal import Seconds, Signal, discover
from schemas.policy import Caps, known
from schemas.records import PolicyChange


class NodePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """improve_after_s: how long a GPU must be better before condition and weight improve (worse: at once).

    coalesce_s: identical kernel faults of a GPU within this time count once (0: every line counts).
    rates_every_s: heartbeat of the rates topic.
    scrub_s: a GPU that has been watched for so long without an uncorrectable error is known to be good.
    repeat_days: corruption that comes back within so many days evicts permanently. release_by_diagnostic: a passed
    diagnostic that began after the evidence puts the GPU back, as an operator does.
    """

    improve_after_s: Seconds = 300.0
    coalesce_s: Seconds = 5.0
    rates_every_s: Annotated[float, msgspec.Meta(ge=5.0, le=86_400.0)] = 900.0
    scrub_s: Annotated[float, msgspec.Meta(ge=60.0, le=31 * 86_400.0)] = 86_400.0
    repeat_days: Annotated[float, msgspec.Meta(ge=0.0, le=3650.0)] = 30.0
    release_by_diagnostic: bool = False


@cache
def document_type() -> type[msgspec.Struct]:
    """The type of a whole policy: `signals.NAME`, `node`, `prediction`, `cluster`, and `reasons` for readers."""
    signals = msgspec.defstruct(
        "Signals",
        [(signal.name, policy_type(signal), policy_type(signal)()) for signal in discover()],
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )
    return msgspec.defstruct(
        "Policy",
        [
            ("signals", signals, signals()),
            ("node", NodePolicy, NodePolicy()),
            ("prediction", prediction_policy.policy_type(), prediction_policy.policy_type()()),
            ("cluster", cluster_policy.Policy, cluster_policy.Policy()),
            ("reasons", dict[str, str], msgspec.field(default_factory=dict)),
        ],
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )


@cache
def policy_type(signal: Signal) -> type[msgspec.Struct]:
    """The signal's own policy, with the two keys that every signal has: `enabled` and `caps`."""
    own = {field.name for field in msgspec.structs.fields(signal.Policy)}
    shared: list[tuple[str, Any, Any]] = [("enabled", bool, True), ("caps", Caps, Caps())]
    return msgspec.defstruct(
        f"{type(signal).__name__}Policy",
        [entry for entry in shared if entry[0] not in own],
        bases=(signal.Policy,),
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )


class Policy(msgspec.Struct, frozen=True):
    """A policy in force. values: an instance of `document_type()`. id: name and a digest of all values."""

    id: str
    name: str
    values: Any

    def signal(self, name: str) -> Any:
        return getattr(self.values.signals, name)

    def of(self, signal: Signal) -> Any:
        """The part of a signal; its defaults if it is not among those that were discovered."""
        return getattr(self.values.signals, signal.name, None) or policy_type(signal)()


def from_document(name: str, document: dict[str, Any]) -> Policy:
    """The policy `document` describes; what it leaves out has its default. An empty one is `default`.

    Raises msgspec.ValidationError with the path (`$.signals.x.y`) of what is wrong."""
    values = msgspec.convert(document, document_type())
    told = {key: value for key, value in msgspec.to_builtins(values).items() if key != "reasons"}
    digest = hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()[:12]
    return Policy(f"{name}@{digest}", name, values)


def from_change(change: PolicyChange) -> Policy:
    """The policy a record carries. Raises msgspec.ValidationError."""
    return from_document(change.id.rpartition("@")[0] or change.id, change.document)


def from_state(change: PolicyChange) -> Policy:
    """The policy that another version of the code had in force, as far as this one knows its keys."""
    change.document = known(change.document, document_type())
    return from_change(change)


def to_change(policy: Policy, ts: int) -> PolicyChange:
    document = {key: value for key, value in msgspec.to_builtins(policy.values).items() if key != "reasons"}
    return PolicyChange(ts=ts, id=policy.id, document=document)


_UNITS = {
    "s": "s",
    "ms": "ms",
    "c": "C",
    "mhz": "MHz",
    "w": "W",
    "percent": "%",
    "share": "share",
    "count": "",
    "celsius": "C",
    "h": "h",
    "hour": "h",
    "minute": "min",
}


def unit(name: str) -> str:
    """The unit that a name ends in: `smoothing_s` -> s, `errors_per_hour` -> errors/h, `temperature_c` -> C."""
    head, per, tail = name.rpartition("_per_")
    if per:
        what = head.rpartition("_")[2]
        return f"{_UNITS.get(what, what)}/{_UNITS.get(tail, tail)}"
    return _UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""
