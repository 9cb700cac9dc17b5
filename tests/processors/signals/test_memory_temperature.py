from __future__ import annotations

import pytest

from pipeline.policies import load
from processors.policy import from_document
from processors.testing import Observations, judge
from schemas.fields import GPU_TEMP, MEMORY_TEMP, MEMORY_TEMP_MAX
from schemas.records import Reason

Value = float | None


def seen(celsius: Value, highest: Value = None, log: Observations | None = None) -> list[Reason]:
    log = (log or Observations()).frame("n1", 1.0, {MEMORY_TEMP: celsius, MEMORY_TEMP_MAX: highest, GPU_TEMP: 40.0})
    (score,) = judge(log.tick(10.0)).latest.values()
    return [why for why in score.reasons if why.signal == "memory_temperature"]


@pytest.mark.parametrize(
    ("celsius", "highest", "level"),
    [
        (82, None, None),  # the hottest that a healthy fleet has shown
        (89, None, None),
        (90, None, "warning"),
        (94, None, "warning"),
        (95, None, "critical"),
        (120, None, "critical"),
        (89, 95, None),
        (90, 95, "warning"),
        (95, 95, "critical"),
        (79, 85, None),
        (80, 85, "warning"),
        (85, 85, "critical"),
        (99, 105, None),
        (90, 0, "warning"),  # a limit of 0 C is none
        (None, 95, None),
        (None, None, None),
    ],
)
def test_the_margin_to_what_the_memory_may_be(celsius: Value, highest: Value, level: str | None) -> None:
    assert [why.level for why in seen(celsius, highest)] == ([level] if level else [])


def test_the_reason_in_words() -> None:
    assert (
        seen(92)[0].text == "memory temperature: 3 C below its highest operating temperature (warning limit 5 C below)"
    )
    assert (
        seen(97)[0].text == "memory temperature: 2 C above its highest operating temperature (critical limit 0 C below)"
    )
    assert (seen(92)[0].quantity, seen(92)[0].value, seen(92)[0].unit) == ("margin_c", 3.0, "C")


def test_the_limit_for_gpus_that_report_none_is_policy() -> None:
    policy = from_document("x", {"signals": {"memory_temperature": {"max_c": 105.0}}})
    assert seen(99, None, Observations().policy(0.0, policy)) == []
    assert [why.level for why in seen(90, 95, Observations().policy(0.0, policy))] == ["warning"]


def test_a_limit_that_is_told_once_holds_for_what_follows() -> None:
    log = Observations().frame("n1", 1.0, {MEMORY_TEMP: 70, MEMORY_TEMP_MAX: 85})
    log.frame("n1", 2.0, {MEMORY_TEMP: 81}).tick(10.0)
    (score,) = judge(log).latest.values()
    assert [(why.level, why.value) for why in score.reasons] == [("warning", 4.0)]


def test_the_specification_does_not_know_it() -> None:
    assert seen(120, None, Observations().policy(0.0, load("spec"))) == []
