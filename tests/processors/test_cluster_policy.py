"""Scheduling by health (specification, section 11), boundary values included."""

from __future__ import annotations

import msgspec
import pytest

from processors.cluster_policy import Policy
from schemas.records import ConditionChange
from schemas.states import Condition


@pytest.mark.parametrize(
    ("held", "weight"),
    [
        (0.0, 0.0),
        (0.3, 0.0),
        (0.30000000000000004, 0.30000000000000004),
        (0.4, 0.4),
        (0.7, 0.7),
        (0.7000000000000001, 1.0),
        (0.9, 1.0),
        (1.0, 1.0),
    ],
)
def test_weight_of_a_score(held: float, weight: float) -> None:
    assert Policy().weight(held) == weight


def test_the_score_that_gets_no_traffic_is_configurable() -> None:
    assert Policy(weight_zero_at=0.5).weight(0.5) == 0.0
    assert Policy(weight_zero_at=0.2).weight(0.3) == 0.3


@pytest.mark.parametrize(
    ("condition", "held", "hard", "corruption", "stops"),
    [
        (Condition.HEALTHY, 1.0, False, False, False),
        (Condition.DEGRADED, 0.4, False, False, False),
        (Condition.DEGRADED, 0.3, False, False, True),  # no traffic, so it is out, whatever the word
        (Condition.FAILED, 0.3, False, False, True),
        (Condition.UNKNOWN, 0.0, False, False, False),  # blanks alone condemn nobody
        (Condition.UNKNOWN, 0.0, True, False, True),
        (Condition.DEGRADED, 0.4, False, True, True),  # suspected corruption stops routing at once
        (Condition.UNKNOWN, 1.0, False, True, True),
    ],
)
def test_which_judgement_takes_a_gpu_out(
    condition: Condition, held: float, hard: bool, corruption: bool, stops: bool
) -> None:
    change = ConditionChange(
        ts=1,
        cluster="c",
        node="n",
        uuid="G",
        score=held,
        held=held,
        condition=condition,
        hard=hard,
        corruption=corruption,
    )
    assert Policy().stops(change) is stops


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"gpus_out_max": -1}, r"\$.gpus_out_max"),
        ({"gpus_out_share": 1.5}, r"\$.gpus_out_share"),
        ({"drain_timeout_s": -1}, r"\$.drain_timeout_s"),
        ({"weight_zero_at": 0.8}, "weight_zero_at"),
        ({"weight_zero": 0.3}, "weight_zero"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(document: dict[str, object], error: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=error):
        msgspec.convert(document, Policy)
