"""What the node stage derives: faults, incidents, scores and judgements, each with its reasons."""

from __future__ import annotations

import msgspec

from schemas.records.base import Gpu, Record
from schemas.states import Action, Condition, Family, IncidentState, PredictionAction


class Xid(Record, kw_only=True):
    """A classified kernel fault. repeat: identical to one within the coalescing time, not counted again.

    repeats: how many lines like this one, since the record before, have none of their own.
    """

    cluster: str
    fault: str
    code: int | None = None
    uuid: str = ""
    bdf: str = ""
    gi: int | None = None
    ci: int | None = None
    pid: int | None = None
    process: str = ""
    message: str = ""
    previous: int | None = None
    severity: str
    response: str
    meaning: str
    repeat: bool = False
    repeats: int = 0
    raw: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One kind of fault of one GPU within an incident. what: `xid_48`, `sxid_20034` or a signal's name.

    gpu: neither UUID nor BDF where it is of a switch, or of the node. first, last: event times, ms. text: in words.
    raw: the first line, at most 1,024 characters of it.
    """

    what: str
    gpu: Gpu = Gpu()
    first: int
    last: int
    count: int = 1
    text: str = ""
    raw: str = ""


class Incident(Record, kw_only=True):
    """Related faults of one GPU, or of GPUs that are linked, as one.

    id: for good, whatever comes to light later. family, root: of the cause, as far as is known now; root is a kind
    of `Evidence`. opened, updated: event times of the first and the newest evidence; resolved: when it was over, else
    0. count: of all lines and findings. reopened: how often it came back. action, corruption: the gravest that its
    evidence asks for. into: the incident that it turned out to be part of. evidence: in order of event time, the
    likeliest causes if there is more than 16.
    """

    cluster: str
    id: str
    state: IncidentState
    family: Family
    root: str
    text: str
    gpus: list[Gpu]
    opened: int
    updated: int
    resolved: int = 0
    count: int
    reopened: int = 0
    action: Action
    corruption: bool = False
    into: str = ""
    evidence: list[Evidence] = []


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a score is not 1.0: one signal's finding, with the value it was judged by, at the time it changed.

    level: warning, critical, evict or unknown. cap: the highest score it leaves. limit: the threshold that was
    passed, in the value's unit. text: the same for people.
    """

    signal: str
    level: str
    cap: float
    quantity: str = ""
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    since: int = 0
    text: str = ""


class InstanceHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A MIG instance that is worse than its GPU. ci: None = all of the GPU instance.

    weight: in decisions, never above the GPU's. corruption: its outputs may be wrong.
    """

    gi: int
    ci: int | None = None
    score: float
    condition: Condition
    action: Action = Action.NONE
    corruption: bool = False
    weight: float | None = None
    reasons: list[Reason] = []


class Judged(Record, kw_only=True):
    """What derived records about one GPU share."""

    cluster: str  # always written: equal records shall be equal bytes, wherever the name came from
    uuid: str = ""
    bdf: str = ""


class Rate(Judged, kw_only=True):
    """A windowed error rate of one signal, on change of its class and at a slow heartbeat."""

    signal: str
    level: str
    quantity: str
    value: float | None
    unit: str = ""


class Score(Judged, kw_only=True):
    """score: the smallest cap of all signals, 0.0 to 1.0. held: the same with hysteresis (what weights use)."""

    score: float
    held: float
    condition: Condition
    reasons: list[Reason] = []
    instances: list[InstanceHealth] = []


class Prediction(Judged, kw_only=True):
    """What a GPU's memory errors foretell, by the predictor `model`; of a GPU that never had one, nothing is said.

    hours: until failure; absent if none is foreseen. confidence: 0 to 1, as far as the model means it: only its
    documentation tells whether it is a probability. horizon_h: what `action` looks ahead. errors_per_hour: correctable
    ones, lately.
    """

    model: str
    action: PredictionAction
    hours: float | None = None
    confidence: float
    horizon_h: float = 168.0
    errors_per_hour: float
    text: str = ""


class ConditionChange(Judged, kw_only=True, tag_field="kind", tag="condition"):
    """To the cluster stage: one GPU's judgement changed.

    hard: a fault that no budget may hold back. corruption: outputs may be wrong. evidence: time of the newest
    sample or event behind it. incident: the gravest one that is open on this GPU, else empty.
    """

    score: float
    held: float
    condition: Condition
    action: Action = Action.NONE
    hard: bool = False
    corruption: bool = False
    evidence: int = 0
    reasons: list[Reason] = []
    incident: str = ""
    instances: list[InstanceHealth] = []


class Revalidation(Judged, kw_only=True):
    """Outputs of a GPU to check again: all that it made from `start` to `end` may be wrong.

    detected: when the episode was first seen; a later record of the same GPU and `detected` replaces the earlier.
    end: the newest evidence. start: the last point at which the GPU was known to be good, 0 = there is none, and
    `since` says what made it one: "diagnostic" (a passed one began), "admission" (first sight, or an operator's
    word), "clean-scrub" (the end of a while without errors). confidence: "confirmed" where data was corrupt beyond
    doubt, else "suspected". repeat: there was corruption before, within the policy's days. gi, ci: MIG instance.
    """

    gi: int | None = None
    ci: int | None = None
    start: int
    end: int
    detected: int
    since: str
    confidence: str
    repeat: bool = False
    evidence: list[Reason] = []


class Gone(Judged, kw_only=True, tag_field="kind", tag="gone"):
    """To the cluster stage: another GPU stands in this one's slot now; its case ends."""
