"""The case of one GPU that is taken out of service: what is known of it, what happens to it, what it asks of the world.

What may follow what stands in `processors.case_table`.
"""

from __future__ import annotations

import msgspec

from processors.cluster_policy import Policy
from schemas.records import CommandResult, Order
from schemas.states import Action, CaseState, Step

DAY_MS = 86_400_000
OPERATOR = "operator"  # the fault of a GPU that an operator has drained
PLANNED = "maintenance"  # the signal, and so the fault, of a GPU that an operator has announced work on
HARSHNESS = {action: rank for rank, action in enumerate(Action)}
DISRUPTIVE = frozenset({Step.REMOVING, Step.RESETTING, Step.DIAGNOSING})  # what the second gate lets a case into


def harsher(one: Action, other: Action) -> Action:
    return max(one, other, key=HARSHNESS.__getitem__)


def drastic(action: Action) -> Action:
    """What is done to a GPU that is taken out: evict, where nothing that takes it out was asked for."""
    return action if HARSHNESS[action] >= HARSHNESS[Action.DRAIN] else Action.EVICT


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    """A try to mend the GPU that has begun: it was reset, or diagnosed where a reset is pointless."""

    fault: str
    at_ms: int


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a GPU stands. `IN_SERVICE` is "no open case"; what the last one was about stays readable.

    cause: in words. fault: what kind of thing that is (a signal's name, `xid_48`, `node_removed`), to count by.
    incident: the id of what it is part of, if that is known.
    takes_node: this GPU's own fault takes its node out. hard, corruption: of any evidence since it opened.
    bystander: nothing but its node's fault has taken it out. for_good: some evidence asked for its replacement.
    stale: it opened on old evidence, and nothing newer has come. corrupt_ms: newest evidence of corruption.

    waits: for what, in words. in_flight: as the scheduler said last. node: where it stood when it was let through the
    second gate. tied: it cannot be reset without its peers. rebooted: its node was, since this attempt began.

    attempt: number of the attempt; counted: it stands in `attempts`, which outlives the case, as does reset_ms, the
    last reset. tries: orders given for this step. retry_ms: no other order before that. order: outstanding; until the
    deadline its answer may come. started: it has begun. cancel: the last order that is not to be done any more; until
    doubt_ms it may be done all the same.

    passed_ms: node time of the diagnostic that it passed. released: somebody vouches for its outputs, or takes the
    risk. tainted: they were wrong.
    """

    gpu: str
    step: Step = msgspec.field(default=Step.IN_SERVICE, name="state")  # its former name, in checkpoints
    action: Action = Action.NONE
    cause: str = ""
    fault: str = ""
    opened_ms: int = 0
    deadline_ms: int | None = None
    hard: bool = False
    corruption: bool = False
    takes_node: bool = False
    incident: str = ""
    bystander: bool = False
    for_good: bool = False
    stale: bool = False
    corrupt_ms: int = 0
    waits: str = ""
    in_flight: int | None = None
    node: str = ""
    tied: bool = False
    rebooted: bool = False
    attempt: int = 0
    counted: bool = False
    attempts: tuple[Attempt, ...] = ()
    reset_ms: int = 0
    tries: int = 0
    retry_ms: int = 0
    order: Order | None = None
    started: bool = False
    cancel: str = ""
    doubt_ms: int = 0
    passed_ms: int = 0
    released: bool = False
    tainted: bool = False

    @property
    def state(self) -> CaseState:
        return self.step.state

    @property
    def open(self) -> bool:
        return self.step is not Step.IN_SERVICE

    @property
    def firm(self) -> bool:
        """Not discretionary: no budget holds it back, and judgements alone do not end it."""
        return self.hard or self.corruption

    @property
    def planned(self) -> bool:
        """Nothing but planned work, or an operator's drain, has taken it out."""
        return self.fault in (PLANNED, OPERATOR) and self.action is Action.DRAIN and not self.firm

    @property
    def permanent(self) -> bool:
        return self.for_good or self.action is Action.EVICT_PERMANENTLY

    @property
    def of_node(self) -> bool:
        """It comes back with its node or not at all: nothing less than a reboot will do."""
        return self.tied or self.action is Action.REMOVE_NODE

    @property
    def awaits_boot(self) -> bool:
        """Its node has to be rebooted, which nothing of ours does: perhaps in days."""
        return self.step is Step.RESETTING and self.of_node and not self.rebooted

    @property
    def disrupted(self) -> bool:
        """Its workers are being removed, or it is being reset or diagnosed."""
        return self.step in DISRUPTIVE and (self.order is not None or not self.awaits_boot)

    @property
    def watched(self) -> bool:
        """Its probation is over; it goes back once it is judged fit."""
        return self.step is Step.PROBATION and self.deadline_ms is None

    @property
    def at_gate(self) -> bool:
        """It goes on as soon as it is let: out of `DRAINED`, or by an order to its node."""
        if self.deadline_ms is not None or self.order is not None:
            return False
        return self.step in (Step.DRAINED, Step.RESETTING, Step.DIAGNOSING) and not self.awaits_boot

    def lately(self, now_ms: int, policy: Policy) -> int:
        """How often it was tried to mend this fault, within the policy's days."""
        since_ms = now_ms - policy.workflow.attempts_days * DAY_MS
        return sum(attempt.fault == self.fault and attempt.at_ms > since_ms for attempt in self.attempts)

    @property
    def suspect(self) -> bool:
        """Its outputs may have been wrong, and nobody has vouched for it yet."""
        return self.open and self.corruption and not self.released

    def unreleased(self, policy: Policy) -> bool:
        """Its outputs may have been wrong, and somebody has yet to release it."""
        return self.corruption and not self.released and policy.workflow.release != "diagnostic"


def of_one(gpu: str, *cases: Case) -> Case:
    """What is known of a GPU that had several names: its firmest case, preferably that with an order outstanding.

    What others know against it is added; an order is outstanding in one of them at most, as it takes a UUID.
    """
    first = max(cases, key=lambda case: (case.open, case.order is not None, case.firm))
    known = [first, *(case for case in cases if case is not first and case.open)]
    corrupt = [case for case in known if case.corruption]
    return msgspec.structs.replace(
        first,
        gpu=gpu,
        action=max([case.action for case in known], key=HARSHNESS.__getitem__),
        hard=any(case.hard for case in known),
        corruption=bool(corrupt),
        corrupt_ms=max(case.corrupt_ms for case in cases),
        released=bool(corrupt) and all(case.released for case in corrupt),
        tainted=any(case.tainted for case in known),
        bystander=all(case.bystander for case in known),
        stale=all(case.stale for case in known),
        for_good=any(case.for_good for case in known),
        attempts=tuple(sorted({attempt for case in cases for attempt in case.attempts}, key=lambda one: one.at_ms)),
        reset_ms=max(case.reset_ms for case in cases),
        cancel=next((case.cancel for case in cases if case.cancel), ""),
        doubt_ms=max(case.doubt_ms for case in cases),
    )


# --- events: what happens to a case -----------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True):
    gpu: str
    at_ms: int


class Failed(Event, frozen=True, kw_only=True):
    """Evidence against the GPU: the first opens a case, more may worsen it. bystander: only its node goes."""

    action: Action
    cause: str
    fault: str = ""
    hard: bool = False
    corruption: bool = False
    bystander: bool = False
    incident: str = ""
    evidence_ms: int = 0  # node time; 0 = now
    corrupt_ms: int = 0  # the same, of corruption

    @property
    def seen_ms(self) -> int:
        return self.evidence_ms or self.at_ms


class Recovered(Event, frozen=True):
    """The GPU is judged fit for traffic again."""


class Deadline(Event, frozen=True):
    """The case's `deadline_ms` has passed."""


class Restored(Event, frozen=True):
    """An operator puts the GPU back. note: who, and why."""

    note: str = ""


class Left(Event, frozen=True):
    """Another GPU stands in its slot."""


class Traffic(Event, frozen=True, kw_only=True):
    """What a scheduler says of this case (`schemas.records.Serving`)."""

    state: str
    in_flight: int | None = None
    scheduler: str = ""
    detail: str = ""


class Admitted(Event, frozen=True, kw_only=True):
    """It may go on: removal, reset and diagnostic are allowed. node, boot, sequence: for an order to its node."""

    node: str = ""
    boot: str = ""
    sequence: int = 0
    tied: bool = False


class Held(Event, frozen=True, kw_only=True):
    """It may not go on. why: in words. until_ms: it is asked again then, or when something has changed."""

    why: str
    until_ms: int | None = None


class Answered(Event, frozen=True, kw_only=True):
    """A node says what has become of an order of this case."""

    result: CommandResult


class Rebooted(Event, frozen=True):
    """Its node has been started anew."""


class Proceed(Event, frozen=True, kw_only=True):
    """An operator lets it go on. note: who, and why."""

    note: str = ""


class Validated(Event, frozen=True, kw_only=True):
    """Its outputs have been checked. result: "clean", "corrupt" or "unknown". end: node time that this covers."""

    result: str
    end: int


# --- intents: what to do in the world ---------------------------------------------------------------------


class Announce(msgspec.Struct, frozen=True):
    """Publish the case as it stands now. detail: what changed."""

    detail: str


class RemoveNode(msgspec.Struct, frozen=True):
    """Take the other GPUs of the node out as well."""

    cause: str
    incident: str = ""


class Report(msgspec.Struct, frozen=True):
    """Tell people of an event that nobody should have sent."""

    why: str


Intent = Announce | RemoveNode | Report
Moved = tuple[Case, tuple[Intent, ...]]
