"""What the cluster stage may be told: budgets and brakes, the time to drain, and the weights."""

from __future__ import annotations

from typing import Annotated

import msgspec

from processors.brake_policy import StepLimits, StormPolicy, UnitLimits
from schemas.operator_keys import OperatorKey
from schemas.records import ConditionChange
from schemas.states import Condition
from schemas.weights import FULL_ABOVE, ZERO_AT, weight_of_score

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


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


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """gpus_out_max: GPUs out of service at once that discretionary removals may add up to; None = no budget.

    gpus_out_share: the same as a share of all known GPUs, at least one GPU; the smaller of both counts.
    drain_timeout_s: how long a GPU may finish its requests before it counts as drained.
    weight_zero_at: a score up to here gets no traffic. weight_full_above: a score above gets all of it;
    between them the weight is the score. groups: tensor-parallel groups. budgets: limits per unit, beside those of the
    fleet. steps: limits of what is done to GPUs that are out. storm: when all of that stops. operators: keys of those
    who may speak to the fleet, by name; none = words need no signature.
    """

    gpus_out_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = 50
    gpus_out_share: Share = 0.1
    drain_timeout_s: Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)] = 30.0
    weight_zero_at: Share = ZERO_AT
    weight_full_above: Share = FULL_ABOVE
    groups: GroupsPolicy = GroupsPolicy()
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
