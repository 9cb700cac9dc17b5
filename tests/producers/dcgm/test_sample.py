from __future__ import annotations

from producers.dcgm.sample import STALE_US, Freshness
from producers.dcgm.values import Value

TEMP = 150


def columns(freshness: Freshness, now_s: float, **ts: int) -> list[float | None]:
    values = {(1, gpu): {TEMP: [Value(at, 40.0)]} for gpu, at in enumerate(ts.values())}
    return freshness.columns(values, range(len(ts)), [TEMP], now_s)[TEMP]


def test_a_value_much_older_than_the_others_is_blank() -> None:
    freshness = Freshness()
    newest = 10 * STALE_US
    assert columns(freshness, 0.0, a=newest, b=newest - STALE_US) == [40.0, 40.0]
    assert columns(freshness, 1.0, a=newest, b=newest - STALE_US - 1) == [40.0, None]


def test_values_that_do_not_get_newer_become_blank_and_come_back() -> None:
    freshness = Freshness()
    assert columns(freshness, 100.0, a=5) == [40.0]
    assert columns(freshness, 110.0, a=5) == [40.0]
    assert not freshness.stopped(110.0)
    assert columns(freshness, 110.1, a=5) == [None]
    assert freshness.stopped(110.1)
    assert columns(freshness, 111.0, a=6) == [40.0]


def test_a_clock_of_the_engine_that_is_set_another_way_or_back_does_not_matter() -> None:
    freshness = Freshness()
    assert columns(freshness, 0.0, a=9 * STALE_US) == [40.0]
    assert columns(freshness, 20.0, a=2 * STALE_US) == [40.0]


def test_a_field_that_was_never_sampled_is_blank() -> None:
    assert Freshness().columns({}, [0], [TEMP], 0.0) == {TEMP: [None]}
