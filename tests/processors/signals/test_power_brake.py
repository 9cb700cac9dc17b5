from __future__ import annotations

import pytest

from processors.testing import Observations, judge
from schemas.fields import CLOCK_EVENT_REASONS, POWER, POWER_LIMIT

BRAKE, HEAT = 0x80, 0x40
LOAD = {POWER: 690.0, POWER_LIMIT: 700.0}


def levels(reasons: int, signal: str, seconds: int = 120, **columns: float) -> set[str]:
    log = Observations()
    for second in range(1, seconds):
        log.frame("n1", second, {**LOAD, CLOCK_EVENT_REASONS: reasons})
    return {why.level for score in judge(log).scores for why in score.reasons if why.signal == signal}


def test_the_brake_and_heat_are_told_apart() -> None:
    assert levels(BRAKE, "power_brake") == {"warning", "critical"}
    assert levels(BRAKE, "clocks") == set()
    assert levels(HEAT, "clocks") == {"warning", "critical"}
    assert levels(HEAT, "power_brake") == set()
    assert levels(HEAT | BRAKE, "clocks") == levels(HEAT | BRAKE, "power_brake") == {"warning", "critical"}


@pytest.mark.parametrize("habit", [0x0, 0x1, 0x2, 0x4, 0x8, 0x10, 0x100, 0x1 | BRAKE, 0x2 | 0x4 | 0x8 | 0x10])
def test_habits_of_healthy_gpus_are_no_brake(habit: int) -> None:
    assert levels(habit, "power_brake") == set()


def test_the_reason_names_the_cause_outside_of_the_gpu() -> None:
    log = Observations()
    for second in range(1, 60):
        log.frame("n1", second, {**LOAD, CLOCK_EVENT_REASONS: BRAKE})
    why = judge(log).scores[-1].reasons[0]
    assert (why.signal, why.unit) == ("power_brake", "%")
    assert why.text.startswith("power brake: power supply or rack slow the GPU down in ")


def test_what_remains_of_it_is_forgotten() -> None:
    """And with it the work of carrying it on."""
    log = Observations()
    for second in range(1, 1200):
        log.frame("n1", second, {**LOAD, CLOCK_EVENT_REASONS: BRAKE if second < 30 else 0x4})
    said = judge(log)
    assert [why.level for score in said.scores for why in score.reasons if why.signal == "power_brake"]
    assert said.scores[-1].reasons == []
