"""What an explanation says, whatever it is shown as. Written as JSON just as it stands here; times are ms."""

from __future__ import annotations

import msgspec


class Shown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is empty or not known is left out of the JSON."""


class Identity(Shown, frozen=True, kw_only=True):
    """The last ones come from the node's inventory. listed: it names the GPU."""

    key: str
    cluster: str = ""
    node: str
    uuid: str = ""
    bdf: str = ""
    listed: bool = False
    model: str = ""
    serial: str = ""
    mig: bool = False
    rack: str = ""
    driver: str = ""
    boot: str = ""


class Decided(Shown, frozen=True, kw_only=True):
    """The newest decision. since: when its weight and state became what they are, as far back as is kept."""

    ts: int
    since: int
    weight: float
    state: str
    action: str
    condition: str
    score: float
    held_by: str = ""
    cause: str = ""
    policy: str = ""
    incident: str = ""


class Finding(Shown, frozen=True, kw_only=True):
    """What one signal finds. cap: the highest score it leaves; decides: that is the score.

    limit: the threshold that was passed. limits, caps: all steps of the policy, where its text is known, and how a
    value passes them (`>`, `>=`, `<`, `<=`); settings: what else the policy says to the signal.
    """

    signal: str
    level: str
    cap: float
    decides: bool
    text: str
    since: int
    quantity: str = ""
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    limits: dict[str, float] = {}
    caps: dict[str, float] = {}
    passes: str = ""
    settings: dict[str, bool | int | float | str] = {}


class Hysteresis(Shown, frozen=True, kw_only=True):
    """The GPU is better since `since` and counts as `counts_as` until then has lasted (0: it is not known how long)."""

    since: int
    counts_as: float
    until: int = 0


class Scored(Shown, frozen=True, kw_only=True):
    """held: what the weight goes by; below `score` while a recovery has not lasted. findings: worst first."""

    ts: int
    score: float
    held: float
    condition: str
    findings: list[Finding] = []
    hysteresis: Hysteresis | None = None


class NewestRate(Shown, frozen=True, kw_only=True):
    ts: int
    signal: str
    level: str
    quantity: str
    value: float | None = None
    unit: str = ""


class XidSeen(Shown, frozen=True, kw_only=True):
    """Equal ones of this GPU. first, last: when they happened, ms. lines: as many as were printed. response: ours;
    nvidia_action: what NVIDIA says to do.
    """

    code: int | None = None
    fault: str
    mnemonic: str = ""
    meaning: str
    severity: str
    response: str
    nvidia_action: str = ""
    application: bool = False
    first: int
    last: int
    lines: int
    message: str = ""


class Evidence(Shown, frozen=True, kw_only=True):
    what: str
    first: int
    last: int
    count: int = 1
    gpu: str = ""
    text: str = ""
    raw: str = ""


class IncidentSeen(Shown, frozen=True, kw_only=True):
    """evidence: in the order of time. gpus: the others that it is about."""

    id: str
    state: str
    family: str
    root: str
    text: str
    opened: int
    updated: int = 0
    resolved: int = 0
    count: int = 1
    reopened: int = 0
    corruption: bool = False
    gpus: list[str] = []
    evidence: list[Evidence] = []


class CaseSeen(Shown, frozen=True, kw_only=True):
    """One case. changed: when it came into `state`; in-service: that is when it ended.

    step: how far its workflow has come. waits: what the next step waits for. deadline: ms, when it goes on by itself.
    attempts: how often the GPU was reset for this fault lately.
    """

    opened: int
    changed: int
    state: str
    action: str
    cause: str
    fault: str = ""
    detail: str = ""
    incident: str = ""
    step: str = ""
    waits: str = ""
    deadline: int | None = None
    attempts: int = 0


class PredictionSeen(Shown, frozen=True, kw_only=True):
    ts: int
    model: str
    action: str
    hours: float | None = None
    confidence: float = 0.0
    errors_per_hour: float | None = None
    text: str = ""


class RevalidationSeen(Shown, frozen=True, kw_only=True):
    """Outputs to check again. start: 0 = no point is known at which the GPU was good.

    answer: what was found when they were checked again, in words; empty until then.
    """

    ts: int
    start: int
    end: int
    detected: int = 0
    since: str = ""
    confidence: str = ""
    repeat: bool = False
    answer: str = ""


class GroupSeen(Shown, frozen=True, kw_only=True):
    ts: int
    group: str
    condition: str
    action: str
    gpus: int
    blamed: bool = False
    issues: list[str] = []


class Presence(Shown, frozen=True, kw_only=True):
    """heard: newest record of the node, by the log's clock; 0: none is known."""

    heard: int = 0
    text: str


class Change(Shown, frozen=True, kw_only=True):
    """One line of the timeline. topic: whose record it was."""

    ts: int
    topic: str
    text: str


class Explanation(Shown, frozen=True, kw_only=True):
    """as_of: time of the newest record that it rests on. because: the weight, in a sentence.

    timeline: newest first; older: changes that did not fit. not_kept: what cannot be told any more.
    """

    gpu: Identity
    as_of: int
    source: str
    because: str
    decision: Decided | None = None
    score: Scored | None = None
    presence: Presence | None = None
    incidents: list[IncidentSeen] = []
    xids: list[XidSeen] = []
    rates: list[NewestRate] = []
    prediction: PredictionSeen | None = None
    cases: list[CaseSeen] = []
    revalidations: list[RevalidationSeen] = []
    groups: list[GroupSeen] = []
    timeline: list[Change] = []
    older: int = 0
    not_kept: list[str] = []
