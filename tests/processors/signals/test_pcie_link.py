from __future__ import annotations

import pytest

from processors.testing import Observations, judge
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    PCIE_GENERATION,
    PCIE_GENERATION_MAX,
    PCIE_WIDTH,
    PCIE_WIDTH_MAX,
    POWER,
    POWER_LIMIT,
)
from schemas.records import Reason

Value = float | None
Link = tuple[Value, Value, Value, Value]  # generation and width, now and at best
BEST: Link = (5, 16, 5, 16)
HALF: Link = (5, 8, 5, 16)
BUSY = {CLOCK_EVENT_REASONS: 0x4, POWER: 690.0, POWER_LIMIT: 700.0}
IDLE = {CLOCK_EVENT_REASONS: 0x1, POWER: 70.0, POWER_LIMIT: 700.0}


def run(*parts: tuple[int, Link, dict[int, Value]]) -> Observations:
    """Seconds, one part after the other."""
    log, second = Observations(), 0
    for seconds, (generation, width, generation_max, width_max), more in parts:
        link = {
            PCIE_GENERATION: generation,
            PCIE_WIDTH: width,
            PCIE_GENERATION_MAX: generation_max,
            PCIE_WIDTH_MAX: width_max,
        }
        for _ in range(seconds):
            second += 1
            log.frame("n1", second, {**link, **more})
    return log.tick(second + 9.0)


def seen(log: Observations) -> list[Reason]:
    return [why for score in judge(log).scores for why in score.reasons if why.signal == "pcie_link"]


@pytest.mark.parametrize(
    ("link", "level", "percent"),
    [
        (BEST, None, None),
        ((4, 16, 4, 16), None, None),  # of a machine of generation 4
        ((6, 16, 5, 16), None, None),
        ((4, 16, 5, 16), "warning", 50),
        (HALF, "warning", 50),
        ((5, 4, 5, 16), "critical", 25),
        ((1, 16, 5, 16), "critical", 6.35),
        ((4, 8, 5, 16), "critical", 25),
        ((None, 8, 5, 16), None, None),
        ((5, 8, 5, None), None, None),
        ((0, 0, 5, 16), None, None),
    ],
)
def test_a_link_below_its_best_under_load(link: Link, level: str | None, percent: float | None) -> None:
    found = seen(run((90, link, BUSY)))
    assert [why.level for why in found] == ([level] if level else [])
    if level:
        assert found[0].value == pytest.approx(percent, rel=0.01)


def test_while_idle_links_rest() -> None:
    assert seen(run((300, (1, 16, 5, 16), IDLE))) == []
    assert seen(run((300, (1, 8, 5, 16), {**IDLE, CLOCK_EVENT_REASONS: 0x0}))) == []  # hardly any power


def test_a_minute_of_load_is_needed_in_all() -> None:
    assert seen(run((55, HALF, BUSY))) == []
    assert seen(run((40, HALF, BUSY), (500, HALF, IDLE), (10, HALF, BUSY))) == []
    assert [why.level for why in seen(run((40, HALF, BUSY), (500, HALF, IDLE), (30, HALF, BUSY)))] == ["warning"]


def test_a_link_that_wakes_up_is_given_time() -> None:
    """Jobs come and go, and the link is slow for a moment each time."""
    asleep: Link = (1, 16, 5, 16)
    moment = ((100, asleep, IDLE), (2, asleep, BUSY), (100, BEST, BUSY))
    assert seen(run(*moment, *moment, *moment)) == []


def test_what_was_found_stays_while_the_gpu_idles_and_ends_when_the_link_is_whole() -> None:
    said = judge(run((90, HALF, BUSY), (30, (1, 8, 5, 16), IDLE), (10, HALF, BUSY)))
    assert said.scores[-1].reasons[0].text == (
        "PCIe link: 50 % of its bandwidth under load, fewer lanes or a lower generation (warning limit 100)"
    )
    whole = judge(run((90, HALF, BUSY), (30, BEST, IDLE)))
    assert [why.signal for why in whole.scores[-1].reasons] in ([], ["recovering"])


def test_a_gpu_that_does_not_say_what_it_does_is_not_judged() -> None:
    assert seen(run((200, HALF, {CLOCK_EVENT_REASONS: None, POWER: 690.0, POWER_LIMIT: 700.0}))) == []
