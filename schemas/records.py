"""Every record on every topic but telemetry frames (`schemas.frames`), as typed structs; JSON on the wire.

Unknown fields are ignored and missing optional ones have defaults, so that old and new versions run side by
side. `v` is the schema version of the record; `ts` its event time in ms since the epoch.
"""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.states import Action, CaseState, Condition, Family, GroupAction, IncidentState, PredictionAction, Step


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What all records carry: schema version, event time, cluster and node."""

    v: int = 1
    ts: int
    cluster: str = "default"
    node: str


class Gpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A GPU's identity: UUID and PCI address (`dddd:bb:dd`), either empty while unknown, never both."""

    uuid: str = ""
    bdf: str = ""


def gpu_key(node: str, uuid: str, bdf: str) -> str:
    """The key of a GPU's records: its UUID, else `node/BDF`."""
    return uuid or f"{node}/{bdf}"


# --- observations: what nodes, operators and the pipeline itself say -----------------------------------------


class Observation(Record, kw_only=True):
    """Said by an agent: numbered per `epoch` (the agent's start, ms), so that doubles and gaps show."""

    epoch: int = 0
    seq: int = 0


class GpuInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One GPU as its node lists it. peers: UUID -> NVLinks that join it to that GPU directly.

    mig: MIG mode is on. instances: the numbers of its GPU instances; None where the source cannot tell.
    """

    uuid: str
    bdf: str = ""
    model: str = ""
    serial: str = ""
    mig: bool = False
    peers: dict[str, int] = {}
    instances: list[int] | None = None


class Inventory(Observation, kw_only=True, tag_field="kind", tag="inventory"):
    """The GPUs of a node, complete. A new `boot` (boot id) or `driver_load` restarts volatile counters."""

    gpus: list[GpuInfo]
    driver: str = ""
    boot: str = ""
    driver_load: str = ""
    rack: str = ""


class KernelFault(Observation, kw_only=True, tag_field="kind", tag="kernel"):
    """A fault the kernel (or Fabric Manager) printed, parsed; `raw` keeps the lines as they stood.

    fault: "xid", "sxid", "bus-loss" or "unparsed". bdf: of the GPU, of the switch for an SXid.
    """

    fault: str
    code: int | None = None
    bdf: str = ""
    uuid: str = ""
    gi: int | None = None
    ci: int | None = None
    pid: int | None = None
    process: str = ""
    message: str = ""
    previous: int | None = None
    severity: str = ""
    recovery_action: int | None = None
    source: str = ""
    raw: str = ""


class SourceStatus(Observation, kw_only=True, tag_field="kind", tag="source"):
    """How a source fares. state: "ok", "failing" or "ended". lost: observations that it knows it lost.

    cause: what is wrong, by machine (`schemas.sources.CAUSES`); `detail` says it to people. While a source fails it
    is said again now and then. Source `agent`, "ended": the agent stops because somebody has asked it to.
    """

    source: str
    state: str
    detail: str = ""
    lost: int = 0
    cause: str = ""


class HealthIncident(Observation, kw_only=True, tag_field="kind", tag="health"):
    """A DCGM health watch found something, said when it begins and when it is over (health "pass").

    system: the watch (`pcie`, `nvlink`, `memory` ...; `all` for Xids). health: "pass", "warn" or "fail". code: DCGM's
    number of the incident; it, and never `message`, says what happened. gi, ci: of a MIG instance.
    """

    uuid: str = ""
    bdf: str = ""
    gi: int | None = None
    ci: int | None = None
    system: str
    health: str
    code: int
    message: str = ""


class PolicyViolation(Observation, kw_only=True, tag_field="kind", tag="violation"):
    """A DCGM policy was violated. condition: `dbe`, `pcie`, `retired-pages`, `thermal`, `power`, `nvlink` or `xid`.

    value: what DCGM tells with it, by DCGM's own names (`errnum`, `numerrors`, `counter` ...).
    """

    uuid: str = ""
    bdf: str = ""
    condition: str
    value: dict[str, int] = {}


class LinkStatus(Observation, kw_only=True, tag_field="kind", tag="links"):
    """The NVLinks of a GPU, on change. links: "up", "down", "disabled" or "unsupported", by link number."""

    uuid: str = ""
    bdf: str = ""
    links: list[str]


class DiagnosticTest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One test of a diagnostic. result: "pass", "warn", "fail" or "skip". codes: the tool's numbers of its findings."""

    name: str
    result: str
    codes: list[int] = []
    text: str = ""


class Diagnostic(Observation, kw_only=True, tag_field="kind", tag="diagnostic"):
    """A diagnostic of one GPU has run, from `started` (ms) to `ts`. tool: as it is called ("dcgmi diag").

    result: "pass", "warn", "fail", or "incomplete" where a test that `level` promises did not run: that proves nothing.
    """

    uuid: str = ""
    bdf: str = ""
    tool: str
    level: int = 0
    result: str
    started: int = 0
    tests: list[DiagnosticTest] = []


class Bandwidth(Observation, kw_only=True, tag_field="kind", tag="bandwidth"):
    """What a tool measured from a GPU to another one (`peer`, a UUID), in GB/s, one direction.

    Where a tool names GPUs by their PCI address, `uuid` and `peer` may be empty: bdf, peer_bdf. peer_node: where the
    peer is, "" = on the same node.
    """

    uuid: str
    peer: str
    gb_per_s: float
    tool: str = ""
    bdf: str = ""
    peer_bdf: str = ""
    peer_node: str = ""


class CommandResult(Observation, kw_only=True, tag_field="kind", tag="command-result"):
    """What became of a command; said again after a crash: equal `id` and `state` are the same word.

    state: "refused" (nothing was done; `reason` says why in one word, `detail` in many), "dry-run" (it would have been
    done), "started" (something runs), and then one of "done", "failed", "indeterminate" (the agent died in the middle:
    look before you say it again; it comes alone where nothing was said of a start); "cancelled" before it started.
    id, action: the command's own; empty where it could not be read. case: whose step it is. started: ms.
    exit_status: of the tool that was run. output: the end of what it printed.
    """

    id: str
    action: str
    state: str
    detail: str = ""
    reason: str = ""
    uuid: str = ""
    bdf: str = ""
    sequence: int = 0
    case: str = ""
    author: str = ""
    started: int = 0
    exit_status: int | None = None
    output: str = ""


class Command(Record, kw_only=True, tag_field="kind", tag="command"):
    """What a node shall do; on `commands`, under the node's name. `id` names it in its result.

    action: "reset", "diagnose" (parameters: `level`) or "cancel" (parameters: `command`, the id of another one that
    has not started). boot: only during this boot of the machine. sequence: rises with each command to the node; the
    time in ms will do. expires: ms, not after that. author: who wants it. case: the incident that it belongs to.
    signature: Ed25519 by the key `key_id`, base64, over `schemas.commands.to_sign`.
    """

    id: str
    action: str
    uuid: str = ""
    bdf: str = ""
    boot: str = ""
    sequence: int = 0
    expires: int = 0
    parameters: dict[str, int | str] = {}
    author: str = ""
    case: str = ""
    key_id: str = ""
    signature: str = ""


class Operator(Record, kw_only=True, tag_field="kind", tag="operator"):
    """An operator's word on one GPU, or on all of its node where neither uuid nor bdf is given.

    action: one of `schemas.operators.ACTIONS`. node: "" where it is on more than one node: on a `rack`, or on all of
    the cluster. until: ms; of what ends by itself. weight: of "override". author: who says so.
    signature: Ed25519 by the key `key_id`, base64, over `schemas.operators.to_sign`; `ts` and `id` tell words apart.
    """

    action: str
    uuid: str = ""
    bdf: str = ""
    rack: str = ""
    until: int = 0
    weight: float | None = None
    author: str = ""
    note: str = ""
    id: str = ""
    key_id: str = ""
    signature: str = ""


class Serving(Observation, kw_only=True, tag_field="kind", tag="serving"):
    """What a scheduler says of a GPU that it was asked to take out or to put back (`Eviction.step.wanted`).

    scheduler: the adapter's name. state: what it does with the GPU now: "serving" (new work may come), "drained" (none
    comes), "removed"; "unknown" where the scheduler cannot be asked, or does not know the GPU (`detail` says why).
    in_flight: requests or jobs that still run there; None = cannot be told. case: `opened` of the case it answers.
    """

    uuid: str = ""
    bdf: str = ""
    scheduler: str
    state: str
    in_flight: int | None = None
    case: int = 0
    detail: str = ""


class Revalidated(Observation, kw_only=True, tag_field="kind", tag="revalidated"):
    """The answer to a `Revalidation` (same GPU and `detected`): its outputs of that time have been checked again.

    result: "clean", "corrupt" or "unknown" (they cannot be checked any more). checked: how many outputs.
    wrong: how many of them. end: the `end` of the record that is answered; later evidence needs another answer.
    """

    uuid: str = ""
    bdf: str = ""
    detected: int
    end: int
    result: str
    checked: int = 0
    wrong: int = 0
    author: str = ""
    note: str = ""


class Placement(Record, kw_only=True, tag_field="kind", tag="placement"):
    """A tensor-parallel group as a scheduler has placed it: UUIDs in the order of their ranks; none = dissolved.

    Keyed by any node of the group's. namespace: whose job it is.
    """

    group: str
    gpus: list[str]
    model: str = ""
    namespace: str = ""


class PolicyChange(Record, kw_only=True, tag_field="kind", tag="policy"):
    """From this position on, this policy. One copy per partition with the same `id`; `document` is complete."""

    node: str = ""
    id: str
    document: dict[str, Any]


class Tick(Record, kw_only=True, tag_field="kind", tag="tick"):
    """Nothing but the time: appended while nothing else is, so that timers fire.

    counts: on `fleet-events`, what the node stage has dropped or corrected so far (duplicates, clock steps ...).
    """

    node: str = ""
    counts: dict[str, int] = {}


# --- derived records -----------------------------------------------------------------------------------------


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


class Decision(Judged, kw_only=True):
    """What a scheduler reads: `weight` 0.0 (no traffic) to 1.0. policy: the id that made it.

    held_by: what keeps a discretionary change from taking effect: "budget", "budget:rack r7", "storm", "hold",
    "hold:node n1"; or "override", where an operator has set the weight (`cause` says who); else empty.
    instances: MIG instances that deserve less than `weight`.
    cause: what took the GPU out of service, which may be a fault of its node; `reasons` are its own, as of now.
    incident: what it is part of (`Incident.id`), else empty.
    """

    weight: float
    score: float
    condition: Condition
    state: CaseState
    action: Action = Action.NONE
    held_by: str = ""
    cause: str = ""
    reasons: list[Reason] = []
    policy: str = ""
    incident: str = ""
    instances: list[InstanceHealth] = []


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node shall do for a case, to be signed and sent as the `Command` of the same id, at most once.

    action, boot, sequence, expires, level: as in `Command`.
    """

    id: str
    action: str
    boot: str
    sequence: int
    expires: int
    level: int = 0


class Eviction(Judged, kw_only=True):
    """The case of one GPU: its state and what opened it: in words (cause), and to count by (fault: a signal's
    name, `xid_48`, `node_removed`). incident: its id; for a GPU that only goes with its node, that of the fault.

    step: where its workflow stands; `state` is the same for those who only route, and `step.wanted` what a scheduler
    is asked for. opened: with the GPU the identity of the case. waits: what the next step waits for, in words; empty
    where nothing is in its way. deadline: ms, when it goes on by itself. in_flight: requests that still ran when the
    scheduler was last heard. attempts: how often it was reset for this fault lately. order: what its node shall do
    now. cancel: the id of an order that is not to be done any more.
    """

    state: CaseState
    action: Action
    cause: str
    fault: str = ""
    opened: int
    detail: str = ""
    incident: str = ""
    waits: str = ""
    deadline: int | None = None
    in_flight: int | None = None
    attempts: int = 0
    order: Order | None = None
    cancel: str = ""
    step: Step | None = None


class GroupIssue(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong with a group. kind: "lost" or "unknown" (a GPU), "topology" (a GPU has fewer NVLinks up
    than its product has), "pair" (two GPUs have less bandwidth between them than expected).

    measured, expected: in `unit` (`links`, `GB/s`). basis: what a pair was judged by, "measured" or "links".
    """

    kind: str
    gpus: list[str]
    measured: float | None = None
    expected: float | None = None
    unit: str = ""
    basis: str = ""
    text: str = ""


class Blame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose fault it is. kind: "gpu"; "link" (that between the two GPUs named); "fabric" (all of them suffer alike:
    look at the switches). why: in words.
    """

    kind: str
    gpus: list[str]
    why: str = ""


class GroupVerdict(Record, kw_only=True):
    """How a tensor-parallel group stands, by its worst pair of GPUs.

    all_reduce_gb_per_s, expected_gb_per_s: of the worst pair, one direction. decode_latency_ms: of one request at a
    time. throughput_change_percent: against a group without a fault. All None where they cannot be told. basis: what
    they rest on: "links", "measured", "lost", or "" where no pair could be judged. scaled: the table they are read
    from was measured on another product (Llama 70B, TP-2, H100), and is taken by the share of the expected bandwidth.
    evict: UUIDs that the scheduler is asked to place the group without. more_issues: how many did not fit.
    """

    cluster: str
    group: str
    gpus: list[str]
    model: str = ""
    namespace: str = ""
    condition: Condition
    action: GroupAction
    worst: list[str] = []
    all_reduce_gb_per_s: float | None = None
    expected_gb_per_s: float | None = None
    decode_latency_ms: float | None = None
    throughput_change_percent: float | None = None
    basis: str = ""
    scaled: bool = False
    blamed: list[Blame] = []
    evict: list[str] = []
    issues: list[GroupIssue] = []
    more_issues: int = 0
    policy: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An operator's word that still holds. what: "hold", "drain" or "override".

    scope: "cluster", "rack NAME", "node NAME", or "gpu KEY". until: ms; 0 = until somebody ends it. weight: of an
    override. verified: its signature was checked. id: of the word.
    """

    what: str
    scope: str
    author: str
    since: int
    until: int = 0
    note: str = ""
    weight: float | None = None
    verified: bool = False
    id: str = ""


class BudgetUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """name: "out" (GPUs out of service), "nodes out", "steps" (GPUs being removed, reset or diagnosed), or one of a
    unit that is used up, "out rack r7", "steps node n1". limit: None = none.
    """

    name: str
    used: int
    limit: int | None = None


class Brakes(Record, kw_only=True):
    """What holds changes back in a cluster, as of now.

    storm: since when (ms) nothing discretionary and nothing disruptive is done because too much goes wrong at once, 0 =
    there is none; why: its cause, in words. waiting: GPUs that are to be taken out and are not yet, by what holds them
    back (`Decision.held_by`). would: the same GPUs by what would be done to them. standing: operators' words that hold,
    each once, of however many GPUs it is; more_standing: how many did not fit.
    budgets: how far they are used. detail: what changed last.
    """

    cluster: str
    node: str = ""
    storm: int = 0
    why: str = ""
    waiting: dict[str, int] = {}
    would: dict[str, int] = {}
    standing: list[Standing] = []
    more_standing: int = 0
    budgets: list[BudgetUse] = []
    detail: str = ""
    policy: str = ""


class DeadLetter(Record, kw_only=True):
    """A record that could not be understood: where it stood, why, and its bytes (base64 in JSON).

    size: of the whole, where `data` is only the beginning of it; else 0.
    """

    node: str = ""
    source: str
    kind: str = ""
    why: str
    data: bytes = b""
    size: int = 0


Observed = (
    Inventory
    | KernelFault
    | HealthIncident
    | PolicyViolation
    | LinkStatus
    | Diagnostic
    | Bandwidth
    | Placement
    | CommandResult
    | Serving
    | Revalidated
    | SourceStatus
    | Operator
    | PolicyChange
    | Tick
)
FleetEvent = (
    ConditionChange
    | Gone
    | Inventory
    | LinkStatus
    | Bandwidth
    | Placement
    | CommandResult
    | Serving
    | Revalidated
    | Operator
    | PolicyChange
    | Tick
)
Derived = (
    Xid
    | Rate
    | Score
    | Incident
    | Revalidation
    | Prediction
    | Decision
    | Eviction
    | GroupVerdict
    | Brakes
    | DeadLetter
    | Inventory
)

encode = msgspec.json.Encoder().encode
