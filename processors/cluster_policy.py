"""What the cluster stage may be told: budgets and brakes, the time to drain, and the weights."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from processors.brake_policy import StepLimits, StormPolicy, UnitLimits
from schemas.operator_keys import OperatorKey
from schemas.records import ConditionChange
from schemas.states import Condition
from schemas.weights import FULL_ABOVE, ZERO_AT, weight_of_score

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)]
Limit = Annotated[float, msgspec.Meta(ge=1.0, le=3_600.0)]


class GroupsPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How tensor-parallel groups are judged.

    pair_share_min: a pair of GPUs with less than this share of the expected bandwidth is an issue.
    bandwidth_fresh_s: how long a measurement outranks what the number of links makes expect.
    evict: a GPU to blame for a group that cannot go on is taken out of service, within the budget. Otherwise the
    verdict only asks the scheduler to place the group without it.
    """

    pair_share_min: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.8
    bandwidth_fresh_s: Annotated[float, msgspec.Meta(ge=0.0, le=31_536_000.0)] = 86_400.0
    evict: bool = False


class WorkflowPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What follows once a GPU is drained.

    enabled: GPUs are removed, reset, diagnosed and put back. Otherwise a case stops at `drained`, and says what would
    follow. acknowledged: an adapter of a scheduler answers: a drain ends when nothing runs any more, what still runs
    at its end is ended, and nothing is reset before the scheduler has removed it. Otherwise drains end by time alone.

    force_timeout_s: how long the scheduler may take to end what still runs. reset_s, diagnose_s: the limits of the
    tools, as the agents have them. diagnose_level: of `dcgmi diag`. probation_s: how long a GPU that has passed is
    watched without traffic.

    attempts_max, attempts_days: a GPU that was reset so often for the same fault within so many days is not reset once
    more: it is to be replaced (a hard fault), or an operator decides. cool_down_s: between two resets of one GPU, and
    before an order that could not be done is given again. order_tries: how often it is given in all.
    no_reset: faults (`Eviction.fault`) that a reset does not touch: the diagnostic follows at once.

    release: who releases a GPU whose outputs may have been wrong, once it has passed its diagnostic: "operator";
    "revalidation", those who have checked its outputs; "diagnostic" alone. In the last two cases the node stage has to
    take the diagnostic's word, too: `node.release_by_diagnostic`.
    """

    enabled: bool = False
    acknowledged: bool = False
    force_timeout_s: Seconds = 30.0
    reset_s: Limit = 60.0
    diagnose_s: Limit = 300.0
    diagnose_level: Annotated[int, msgspec.Meta(ge=1, le=4)] = 2
    probation_s: Seconds = 300.0
    attempts_max: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    attempts_days: Annotated[float, msgspec.Meta(ge=0.0, le=365.0)] = 7.0
    cool_down_s: Seconds = 900.0
    order_tries: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    no_reset: tuple[str, ...] = (
        "clocks",
        "gone",
        "memory_temperature",
        "power_brake",
        "presence",
        "telemetry_source",
        "temperature",
        "temperature_margin",
        "thermal_violation",
        "tp_group",
    )
    release: Literal["operator", "revalidation", "diagnostic"] = "operator"


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """gpus_out_max: GPUs out of service at once that discretionary removals may add up to; None = no budget.

    gpus_out_share: the same as a share of all known GPUs, at least one GPU; the smaller of both counts.
    drain_timeout_s: how long a GPU may finish its requests before it counts as drained.
    weight_zero_at: a score up to here gets no traffic. weight_full_above: a score above gets all of it;
    between them the weight is the score. groups: tensor-parallel groups. budgets: limits per unit, beside those of the
    fleet. steps: limits of what is done to GPUs that are out. storm: when all of that stops. operators: keys of those
    who may speak to the fleet, by name; none = words need no signature. workflow: what follows a drain.
    """

    gpus_out_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = 50
    gpus_out_share: Share = 0.1
    drain_timeout_s: Seconds = 30.0
    weight_zero_at: Share = ZERO_AT
    weight_full_above: Share = FULL_ABOVE
    groups: GroupsPolicy = GroupsPolicy()
    workflow: WorkflowPolicy = WorkflowPolicy()
    budgets: UnitLimits = UnitLimits()
    steps: StepLimits = StepLimits()
    storm: StormPolicy = StormPolicy()
    operators: dict[str, OperatorKey] = {}

    def __post_init__(self) -> None:
        if self.weight_zero_at > self.weight_full_above:
            raise ValueError("weight_zero_at must not be above weight_full_above")

    def weight(self, held: float) -> float:
        """A GPU's share of the traffic by its held score alone (specification, section 11)."""
        return weight_of_score(held, self.weight_zero_at, self.weight_full_above)

    def stops(self, change: ConditionChange) -> bool:
        """This judgement takes the GPU out. Unknown alone never does; a hard fault behind blanks does."""
        if change.corruption:
            return True
        if change.condition is Condition.UNKNOWN:
            return change.hard
        return change.condition is Condition.FAILED or self.weight(change.held) == 0.0

    def only_waits(self, change: ConditionChange) -> bool:
        """What took the GPU out is gone; it has only not been better for long enough. That is no evidence."""
        now = msgspec.structs.replace(change, held=change.score, condition=Condition.of_score(change.score))
        return change.condition is not Condition.UNKNOWN and not self.stops(now)
