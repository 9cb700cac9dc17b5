from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.report.poisson import interval, verdict


@pytest.mark.parametrize(
    ("expected", "usual"),
    [(0.0, (0, 0)), (0.01, (0, 0)), (0.5, (0, 2)), (1.0, (0, 3)), (5.0, (1, 10)), (10.0, (4, 17)), (100.0, (81, 120))],
)
def test_the_interval_is_that_of_the_tables(expected: float, usual: tuple[int, int]) -> None:
    assert interval(expected) == usual


@given(st.floats(0.001, 500.0))
def test_each_side_holds_at_most_half_of_the_rest(expected: float) -> None:
    low, high = interval(expected)
    term, below, upto = exp(-expected), 0.0, 0.0
    for count in range(high + 1):
        if count < low:
            below += term
        upto += term
        term *= expected / (count + 1)
    assert below <= 0.025 + 1e-9
    assert 1.0 - upto <= 0.025 + 1e-9


def test_a_large_fleet_over_a_long_time_has_an_interval_too() -> None:
    low, high = interval(1e6)
    assert 1e6 - 2100 < low < 1e6 - 1900
    assert 1e6 + 1900 < high < 1e6 + 2100


def test_in_words() -> None:
    assert [verdict(count, 4, 17) for count in (3, 4, 17, 18)] == [
        "fewer than usual",
        "usual",
        "usual",
        "more than usual",
    ]
