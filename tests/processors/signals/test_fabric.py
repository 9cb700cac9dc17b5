from __future__ import annotations

import pytest

from processors.testing import Observations, judge
from schemas.fields import FABRIC_MANAGER_STATUS
from schemas.states import Action


@pytest.mark.parametrize(
    ("status", "score", "action"),
    [
        (0, 1.0, Action.NONE),  # there is none
        (1, 1.0, Action.NONE),  # not started: so does every boot begin
        (2, 1.0, Action.NONE),
        (3, 1.0, Action.NONE),
        (4, 0.3, Action.EVICT),
        (5, 1.0, Action.NONE),
        (6, 1.0, Action.NONE),
        (None, 1.0, Action.NONE),
    ],
)
def test_only_a_failure_takes_the_gpu_out(status: float | None, score: float, action: Action) -> None:
    change = judge(Observations().frame("n1", 1.0, {FABRIC_MANAGER_STATUS: status}).tick(6.0)).conditions[-1]
    assert (change.score, change.action) == (score, action)


def test_it_is_over_when_the_gpu_has_joined() -> None:
    log = Observations()
    for second, status in enumerate((1, 2, 4, 4, 2, 3), 1):
        log.frame("n1", second, {FABRIC_MANAGER_STATUS: status})
    said = judge(log.tick(20.0))
    assert said.scores[-1].score == 1.0
    texts = {why.text for score in said.scores for why in score.reasons if why.signal == "fabric"}
    assert texts == {"the GPU could not join its NVLink fabric: see the log of the Fabric Manager"}
