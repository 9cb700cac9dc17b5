from __future__ import annotations

import pytest

from schemas.waits import Wait


@pytest.mark.parametrize(
    ("text", "kind", "by_itself"),
    [
        ("actions are not enabled: a reset would follow", Wait.ACTIONS, False),
        ("storm hold: 31 GPUs in 10 min", Wait.STORM, True),
        ("hold by ann until 12:00", Wait.HOLD, True),
        ("held by an operator", Wait.HOLD, True),
        ("budget: 2 of 2 GPUs of rack r7 are out", Wait.BUDGET, True),
        ("cool-down after the reset before, until 12:00", Wait.COOL_DOWN, True),
        ("its outputs to be checked again", Wait.REVALIDATION, True),
        ("revalidation of its outputs", Wait.REVALIDATION, True),
        ("fresh evidence or an operator", Wait.EVIDENCE, False),
        ("an operator: outputs may be wrong", Wait.OPERATOR, False),
        ("3 requests in flight", Wait.SCHEDULER, True),
        ("the scheduler to remove it", Wait.SCHEDULER, True),
        ("node b1: reset", Wait.NODE, True),
        ("the moon", Wait.OTHER, False),
        ("above the threshold", Wait.OTHER, False),
    ],
)
def test_the_kind_of_a_wait_is_read_off_its_words(text: str, kind: Wait, by_itself: bool) -> None:
    assert Wait.of(text) is kind
    assert kind.ends_by_itself is by_itself


def test_no_words_are_no_wait() -> None:
    assert Wait.of("") is None
