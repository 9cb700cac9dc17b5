"""The budget: how many GPUs may be out, and whom it never holds back."""

from __future__ import annotations

import pytest

from processors.budget import Capacity, Removal, admit, limit
from processors.cluster_policy import Policy


@pytest.mark.parametrize(
    ("known", "policy", "most"),
    [
        (1, Policy(), 1),
        (9, Policy(), 1),
        (19, Policy(), 1),
        (20, Policy(), 2),
        (500, Policy(), 50),
        (100_000, Policy(), 50),
        (100, Policy(gpus_out_share=0.29), 29),
        (100, Policy(gpus_out_share=0.0), 1),
        (100, Policy(gpus_out_max=0), 0),
        (100_000, Policy(gpus_out_max=None), None),
    ],
)
def test_the_smaller_of_count_and_share_counts_and_the_share_is_one_gpu_at_least(
    known: int, policy: Policy, most: int | None
) -> None:
    assert limit(known, policy) == most


@pytest.mark.parametrize(
    ("discretionary", "out", "held_by"),
    [(True, 0, ""), (True, 1, ""), (True, 2, "budget"), (True, 20, "budget"), (False, 20, "")],
)
def test_discretionary_removals_wait_for_room_and_others_do_not(discretionary: bool, out: int, held_by: str) -> None:
    assert admit(Removal(discretionary), Capacity(known=20, out=out), Policy()) == held_by


def test_no_budget_holds_nobody() -> None:
    assert admit(Removal(True), Capacity(known=20, out=20), Policy(gpus_out_max=None)) == ""
