from __future__ import annotations

from typing import Any

import pytest

from processors.policy import from_document
from processors.testing import Observations, judge
from schemas.fields import ROW_REMAP_FAILURE, ROW_REMAP_PENDING
from schemas.states import Action


def remaps(log: Observations, at_s: float, failure: float | None, pending: float | None) -> Observations:
    return log.frame("n1", at_s, {ROW_REMAP_FAILURE: failure, ROW_REMAP_PENDING: pending})


@pytest.mark.parametrize(
    ("failure", "pending", "text"),
    [
        (0, 0, []),
        (None, None, []),
        (0, 1, ["row remap waits for a reset"]),
        (None, 1, ["row remap waits for a reset"]),
        (1, 0, ["row remapping failed: replace the GPU"]),
        (1, None, ["row remapping failed: replace the GPU"]),
        (1, 1, ["row remapping failed: replace the GPU"]),
    ],
)
def test_failed_outranks_pending(failure: Any, pending: Any, text: list[str]) -> None:
    (score,) = judge(remaps(Observations(), 1.0, failure, pending).tick(6.0)).scores
    assert [why.text for why in score.reasons if why.signal == "row_remap"] == text


def test_an_operator_accepts_the_flag_that_never_clears_and_later_remaps_still_show() -> None:
    log = remaps(Observations(), 1.0, 1, 0).tick(6.0).restore("n1", 7.0)
    change = judge(log).conditions[-1]
    assert (change.score, change.held, change.action) == (1.0, 1.0, Action.NONE)
    assert judge(remaps(log, 8.0, 1, 1).tick(15.0)).conditions[-1].score == 0.7


def test_pending_may_be_no_warning() -> None:
    policy = from_document("x", {"signals": {"row_remap": {"pending_is_warning": False}}})
    (score,) = judge(remaps(Observations().policy(0.0, policy), 1.0, 0, 1).tick(6.0)).scores
    assert score.score == 1.0


def test_a_reset_clears_what_was_pending() -> None:
    log = remaps(remaps(Observations(), 1.0, 0, 1).tick(6.0), 7.0, 0, 0).tick(12.0)
    assert judge(log).scores[-1].score == 1.0


@pytest.mark.parametrize(
    ("first", "later", "cap"),
    [
        ((1, 0), (None, None), 0.0),
        ((1, 0), (None, 0), 0.0),
        ((1, 1), (None, 0), 0.0),
        ((0, 1), (None, None), 0.7),
        ((0, 1), (0, None), 0.7),
        ((0, 1), (None, 0), 1.0),  # the flag that was set is told, and is not set any more
    ],
)
def test_a_blank_takes_nothing_back(first: Any, later: Any, cap: float) -> None:
    log = remaps(remaps(Observations(), 1.0, *first).tick(6.0), 7.0, *later).tick(12.0)
    assert judge(log).latest.popitem()[1].score == cap
