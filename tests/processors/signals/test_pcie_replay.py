from __future__ import annotations

import pytest

from processors.testing import Observations, judge
from schemas.fields import PCIE_GENERATION, PCIE_GENERATION_MAX, PCIE_REPLAY_COUNTER, PCIE_WIDTH_MAX

Value = float | None


def level(replays: int, generation: Value, width: Value, *, at_once: bool = True) -> str | None:
    link = {PCIE_GENERATION_MAX: generation, PCIE_WIDTH_MAX: width}
    log = Observations().frame("n1", 1.0, {PCIE_REPLAY_COUNTER: 5, **link})
    for second in range(2, 12):
        log.frame("n1", second, {PCIE_REPLAY_COUNTER: 5 + replays * (1 if at_once else (second - 1) / 10), **link})
    (score,) = judge(log.tick(20.0)).latest.values()
    return next((why.level for why in score.reasons if why.signal == "pcie_replay"), None)


# What a bit error rate of 1e-12 gives in a minute: ceil(1e-12 x Gbit/s x 60 x lanes).
TOLERATED: list[tuple[Value, Value, int]] = [
    (6, 16, 62),
    (5, 16, 31),
    (4, 16, 16),
    (3, 16, 8),
    (2, 16, 5),
    (1, 16, 3),
    (5, 8, 16),
    (4, 8, 8),
    (5, 1, 2),
    (None, None, 31),
    (None, 16, 31),
    (5, None, 31),
    (0, 0, 31),
    (9, 16, 62),  # a generation yet to come
]


@pytest.mark.parametrize(("generation", "width", "tolerated"), TOLERATED)
def test_the_limit_is_what_chance_gives_on_this_link(generation: Value, width: Value, tolerated: int) -> None:
    assert level(tolerated, generation, width) is None
    assert level(tolerated + 1, generation, width) == "warning"
    assert level(10 * tolerated, generation, width) == "warning"
    assert level(10 * tolerated + 1, generation, width) == "critical"


def test_one_by_one_they_come_to_the_same() -> None:
    assert level(30, 5, 16, at_once=False) is None
    assert level(40, 5, 16, at_once=False) == "warning"
    assert level(40, 6, 16, at_once=False) is None


def test_a_link_that_idles_tolerates_what_it_did_under_load() -> None:
    log = Observations().frame("n1", 1.0, {PCIE_REPLAY_COUNTER: 0, PCIE_GENERATION_MAX: 5, PCIE_GENERATION: 5})
    log.frame("n1", 2.0, {PCIE_REPLAY_COUNTER: 30, PCIE_GENERATION: 5})
    for second in range(3, 20):
        log.frame("n1", second, {PCIE_REPLAY_COUNTER: 30, PCIE_GENERATION: 1})
    assert all(score.reasons == [] for score in judge(log.tick(30.0)).scores)


def test_the_reason_tells_the_count_as_it_is() -> None:
    log = Observations().frame("n1", 1.0, {PCIE_REPLAY_COUNTER: 0, PCIE_GENERATION_MAX: 4, PCIE_WIDTH_MAX: 16})
    (score,) = judge(log.frame("n1", 2.0, {PCIE_REPLAY_COUNTER: 17}).tick(10.0)).latest.values()
    assert (score.reasons[0].value, score.reasons[0].text) == (
        17.0,
        "pcie replay: 17 replays/min (warning limit 31 on a Gen5 x16 link)",
    )
