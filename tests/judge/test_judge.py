"""The suites in short; `make judge` runs them at full length."""

from __future__ import annotations

import pytest

from tests.judge import suites
from tests.judge.bench import at


@pytest.mark.parametrize("mode", suites.ALL_MODES, ids=lambda mode: mode.__name__)
def test_every_failure_mode_is_detected_whatever_its_severity(mode: suites.Mode) -> None:
    found = suites.detect(mode, injections=10)
    assert (found.injected, len(found.seconds)) == (10, 10)


def test_a_healthy_fleet_with_all_its_habits_evicts_nobody() -> None:
    bench = suites.healthy_fleet(nodes=25, days=2)
    assert [f"{at(case.opened)} {case.node}: {case.cause}" for case in bench.cases.values()] == []
    assert not bench.orders()
    assert not bench.dead_letters


def test_every_alert_of_a_failing_fleet_is_true() -> None:
    world, bench = suites.failing_fleet(nodes=25, days=2, rate=10.0)
    assert bench.alerts(), "at ten times the published rates something fails"
    assert not suites.untrue(world, bench)
    assert not bench.dead_letters


def test_a_storm_of_one_gpu_delays_nobody() -> None:
    storm = suites.storm(20_000)
    assert storm.delayed <= 1
    assert storm.xids < 100
