"""What the cluster stage derives: decisions, cases, verdicts on groups, and what holds changes back."""

from __future__ import annotations

import msgspec

from schemas.records.base import Record
from schemas.records.judged import InstanceHealth, Judged, Reason
from schemas.states import Action, CaseState, Condition, GroupAction, Step


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
    now. cancel: the id of an order that is not to be done any more. by_hand: beyond its drain nothing of ours goes on
    with it, people have to.
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
    by_hand: bool = False


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
