from __future__ import annotations

import pytest

from schemas.waits import Wait


@pytest.mark.parametrize(
    ("text", "kind", "by_itself"),
    [
        ("actions are not enabled: a reset would follow", Wait.ACTIONS, False),
        ("storm-07 has to be rebooted (it cannot be reset without its NVLink peers)", Wait.REBOOT, False),
        ("storm", Wait.STORM, True),
        ("hold:node n1", Wait.HOLD, True),
        ("held by ann until 12:00", Wait.HOLD, True),
        ("budget:rack r7", Wait.BUDGET, True),
        ("budget: 2 of 2 GPUs of rack r7 are out", Wait.BUDGET, True),
        ("the end of planned work", Wait.PLANNED, True),
        ("its cool-down after the last reset", Wait.COOL_DOWN, True),
        (
            "the check of its outputs, which may have been wrong, or an operator's proceed",
            Wait.REVALIDATION,
            True,
        ),
        ("a judgement that finds it fit", Wait.JUDGEMENT, True),
        (
            "evidence of the last minute, or an operator's proceed: older evidence has taken it out",
            Wait.EVIDENCE,
            False,
        ),
        ("its replacement: the storm of errors came back", Wait.REPLACEMENT, False),
        ("an operator: budget or not, its outputs were wrong", Wait.OPERATOR, False),
        ("an operator's proceed or restore: its outputs may have been wrong", Wait.OPERATOR, False),
        ("3 requests in flight", Wait.SCHEDULER, True),
        ("the scheduler to remove it; slurm says drained, 3 in flight", Wait.SCHEDULER, True),
        ("its order", Wait.NODE, True),
        ("the inventory of n1", Wait.NODE, True),
        ("another try of its order: refused, as it is in use", Wait.NODE, True),
        ("the answer to an order that was cancelled: it may be done all the same", Wait.NODE, True),
        ("the moon", Wait.OTHER, False),
        ("what is above the threshold", Wait.OTHER, False),
    ],
)
def test_the_kind_of_a_wait_is_read_off_its_words(text: str, kind: Wait, by_itself: bool) -> None:
    assert Wait.of(text) is kind
    assert kind.ends_by_itself is by_itself


def test_no_words_are_no_wait() -> None:
    assert Wait.of("") is None
