from __future__ import annotations

from typing import Any

import pytest

from pipeline.policies import load
from processors.testing import Observations, Said, judge
from schemas.fields import GPU_TEMP, RECOVERY_ACTION
from schemas.states import Action

ACTIONS: list[tuple[float | None, float, Action]] = [
    (None, 1.0, Action.NONE),
    (0, 1.0, Action.NONE),
    (1, 0.0, Action.EVICT),
    (2, 0.0, Action.REMOVE_NODE),
    (3, 0.0, Action.EVICT),
    (4, 0.0, Action.EVICT),
    (5, 0.7, Action.MONITOR),
    (6, 0.0, Action.EVICT),
    (7, 0.0, Action.REMOVE_NODE),
    (99, 0.7, Action.MONITOR),
]


def asked(*values: float | None, log: Observations | None = None) -> Observations:
    log = log or Observations()
    for second, value in enumerate(values, 1):
        log.frame("n1", second, {RECOVERY_ACTION: value, GPU_TEMP: 50})
    return log


def outcome(said: Said) -> tuple[Any, ...]:
    change = said.conditions[-1]
    return change.score, change.action, change.hard, change.corruption


@pytest.mark.parametrize(("value", "score", "action"), ACTIONS)
def test_the_field_is_answered_like_the_xid(value: float | None, score: float, action: Action) -> None:
    by_field = judge(asked(0, value).tick(10.0))
    assert outcome(by_field)[:2] == (score, action)
    if value is not None:
        log = asked(None).tick(6.0).fault("n1", 7.0, 154, recovery_action=int(value)).tick(12.0)
        assert outcome(by_field) == outcome(judge(log))


def test_it_is_over_when_the_driver_asks_for_nothing_any_more() -> None:
    assert judge(asked(0, 2, 0).tick(10.0)).conditions[-1].score == 1.0


def test_where_the_kernel_log_is_read_it_is_said_once() -> None:
    log = asked(0, 1).tick(10.0).fault("n1", 11.0, 154, recovery_action=1).tick(16.0)
    (score,) = judge(log).latest.values()
    assert [why.signal for why in score.reasons] == ["xid"]
    for second, value in enumerate((1, 1, 2), 20):
        log.frame("n1", second, {RECOVERY_ACTION: value, GPU_TEMP: 50})
    (score,) = judge(log.tick(30.0)).latest.values()
    assert [why.signal for why in score.reasons] == ["xid"]


def test_two_gpus_may_need_different_things() -> None:
    log = Observations().frame("n1", 1.0, {RECOVERY_ACTION: [1, 2], GPU_TEMP: [50, 50]})
    changes = {change.uuid: change.action for change in judge(log.tick(10.0)).conditions}
    assert list(changes.values()) == [Action.EVICT, Action.REMOVE_NODE]


def test_the_reason_in_words() -> None:
    texts = [judge(asked(value).tick(10.0)).scores[-1].reasons[0].text for value in (1, 5, 99)]
    assert texts == [
        "the driver asks for a GPU reset",
        "the driver asks for a recovery of the IMEX domain",
        "the driver asks for recovery action 99",
    ]


def test_the_specification_does_not_know_it() -> None:
    assert judge(asked(2, log=Observations().policy(0.0, load("spec"))).tick(10.0)).conditions[-1].score == 1.0
