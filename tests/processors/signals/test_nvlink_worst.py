from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policies import load
from processors.testing import Observations, judge
from schemas.fields import LINKS, NVLINK_CRC_FLIT
from schemas.records import Reason


def seen(log: Observations) -> list[Reason]:
    (score,) = judge(log).latest.values()
    return [why for why in score.reasons if why.signal == "nvlink_worst"]


def counted(*seconds: dict[int, float | None], log: Observations | None = None) -> Observations:
    """What each link has counted, second by second; 0 where nothing is said."""
    log = log or Observations()
    for at, errors in enumerate(seconds):
        log.frame("n1", 1.0 + at, {field: errors.get(link, 0) for link, field in enumerate(NVLINK_CRC_FLIT)})
    return log


@pytest.mark.parametrize("link", range(LINKS))
def test_the_link_is_named(link: int) -> None:
    (why,) = seen(counted({}, {link: 101, (link + 1) % LINKS: 50}).tick(10.0))
    assert (why.level, why.quantity, why.value) == ("warning", "link_number", link)
    assert why.text == f"most CRC errors on NVLink {link}, more than one link may have (warning)"


def test_limits_are_of_one_link() -> None:
    assert seen(counted({}, {3: 100}).tick(10.0)) == []
    assert seen(counted({}, dict.fromkeys(range(LINKS), 100)).tick(10.0)) == []
    assert [why.level for why in seen(counted({}, {3: 10_000}).tick(10.0))] == ["warning"]
    assert [why.level for why in seen(counted({}, {3: 10_001}).tick(10.0))] == ["critical"]


def test_first_sight_blanks_and_restarts_are_no_errors() -> None:
    assert seen(counted({3: 10**6}, {3: 10**6}).tick(10.0)) == []
    assert seen(counted({3: 10**6}, {3: 5}).tick(10.0)) == []
    assert seen(counted({}, {3: None}, {3: 101}).tick(10.0))[0].value == 3
    blank: dict[int, float | None] = dict.fromkeys(range(LINKS))
    assert seen(counted({}, {3: 101}, blank).tick(10.0)) == []


def test_they_fade_within_hours_and_are_forgotten() -> None:
    log = counted({}, {3: 500})
    for hour in range(1, 4):
        log.frame("n1", 3600.0 * hour, {NVLINK_CRC_FLIT[3]: 500})
    assert [why.level for why in seen(log.tick(3600.0 * 3 + 5))] == ["warning"]  # 500 / (1 + 3) an hour
    log.frame("n1", 3600.0 * 6, {NVLINK_CRC_FLIT[3]: 500}).tick(3600.0 * 6 + 5)
    assert seen(log) == []


def test_a_steady_rate_is_what_it_is_per_hour() -> None:
    """However long it lasts: 90 an hour never warn, 120 do."""
    for hourly, found in ((90, []), (130, ["warning"])):
        log = Observations()
        for minute in range(10 * 60):
            log.frame("n1", 60.0 * minute, {NVLINK_CRC_FLIT[7]: hourly * minute // 60})
        assert [why.level for why in seen(log.tick(36_000.0))] == found


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, LINKS - 1), st.integers(0, 300)), min_size=1, max_size=12))
def test_the_named_link_has_the_most_errors(steps: list[tuple[int, int]]) -> None:
    """Within seconds nothing fades that would matter."""
    totals: dict[int, float | None] = dict.fromkeys(range(LINKS), 0)
    seconds = [dict(totals)]
    for link, more in steps:
        totals[link] = (totals[link] or 0) + more
        seconds.append(dict(totals))
    found = seen(counted(*seconds).tick(30.0))
    most = max(count or 0 for count in totals.values())
    assert bool(found) == (most > 100) or most <= 101
    if found:
        since = round((found[0].since - 1_767_225_600_000) / 1000) - 1
        then = seconds[since]
        assert then[int(found[0].value or 0)] == max(count or 0 for count in then.values())


def test_the_specification_does_not_know_it() -> None:
    assert seen(counted({}, {3: 10**6}, log=Observations().policy(0.0, load("spec"))).tick(10.0)) == []
