"""The predictor `default`: only a rate that rises predicts failure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.prediction.predictor import Evidence, Forecast
from processors.prediction.trend import Trend
from schemas.states import PredictionAction

MONITOR, ORDER, SCHEDULE, EVICT = PredictionAction
TREND = Trend()


def forecast(
    counts: Sequence[int], bucket_h: float = 1.0, running_h: float | None = None, policy: Trend.Policy | None = None
) -> Forecast:
    nothing = [0] * len(counts)
    evidence = Evidence(0, bucket_h, list(counts), nothing, [0.0] * len(counts), running_h)
    return TREND.forecast(evidence, None, policy or Trend.Policy())


def poisson(draw: random.Random, mean: float) -> int:
    """By the gaps between events."""
    count, time = 0, draw.expovariate(mean)
    while time < 1.0:
        count, time = count + 1, time + draw.expovariate(mean)
    return count


def bursts(draw: random.Random, active: float, mean: float) -> list[int]:
    """A week of a chronic GPU: bursts of some hours, `active` of all hours, `mean` errors in each."""
    counts, on = [], False
    for _ in range(168):
        on = draw.random() > 0.3 if on else draw.random() < 0.3 * active / (1 - active)
        counts.append(max(1, int(draw.expovariate(1 / mean))) if on else 0)
    return counts


def grown(hours: int, start: float, doubling_h: float) -> list[int]:
    return [round(start * 2 ** (hour / doubling_h)) for hour in range(hours)]


@given(st.integers(0, 100_000), st.integers(0, 168), st.integers(1, 168), st.sampled_from([0.25, 1.0, 7.0]))
def test_a_constant_rate_predicts_nothing(rate: int, before: int, after: int, bucket_h: float) -> None:
    """Whatever it is, and whenever it began, in the middle of a bucket too."""
    found = forecast([0] * before + [rate // 3] + [rate] * after, bucket_h)
    assert (found.action, found.hours) == (MONITOR, math.inf)


@given(st.integers(1, 10_000), st.integers(1, 59), st.integers(24, 168))
def test_nor_does_it_in_the_middle_of_an_hour(rate: int, minutes: int, hours: int) -> None:
    found = forecast([*[rate * 60] * hours, rate * minutes], running_h=minutes / 60)
    assert (found.action, found.hours) == (MONITOR, math.inf)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=168), st.integers(0, 100))
def test_a_falling_rate_predicts_nothing(counts: list[int], before: int) -> None:
    found = forecast([0] * before + sorted(counts, reverse=True))
    assert (found.action, found.hours) == (MONITOR, math.inf)


@pytest.mark.parametrize("rate", [0.02, 0.1, 1.0, 3.0, 10.0])
def test_noise_around_a_constant_rate_predicts_nothing(rate: float) -> None:
    """A fleet's mean is 0.1 an hour and GPU (2.8 a day); the specification's predictor orders at 10 an hour."""
    draw = random.Random(int(rate * 100))
    weeks = [forecast([poisson(draw, rate) for _ in range(168)]).action for _ in range(300)]
    assert weeks.count(MONITOR) == 300


@pytest.mark.parametrize(("active", "mean"), [(0.02, 4), (0.05, 20), (0.12, 60)])
def test_bursts_hardly_ever_predict(active: float, mean: float) -> None:
    """Chronic GPUs, active in 2 to 12 % of hours, judged once a week: less than 0.5 % of them."""
    draw = random.Random(int(active * 100))
    weeks = [forecast(bursts(draw, active, mean)).action for _ in range(400)]
    assert weeks.count(MONITOR) > 398


@pytest.mark.parametrize(
    ("hours", "start", "doubling_h", "action"),
    [
        (58, 1, 6, EVICT),
        (48, 1, 6, SCHEDULE),
        (80, 1, 10, SCHEDULE),
        (60, 1, 10, ORDER),
        (100, 5, 24, ORDER),
        (168, 1, 24, ORDER),
        (168, 5, 48, MONITOR),
    ],
)
def test_hours_are_those_until_the_exponential_reaches_1000_an_hour(
    hours: int, start: float, doubling_h: float, action: PredictionAction
) -> None:
    left = doubling_h * math.log2(1000 / start) - hours
    found = forecast(grown(hours, start, doubling_h))
    assert (found.action, found.hours) == (action, pytest.approx(left, rel=0.1, abs=2.0))
    assert found.confidence > 0.9


def test_beyond_the_failing_rate_the_time_is_now() -> None:
    assert forecast(grown(80, 10, 8)) == (EVICT, 0.0, pytest.approx(1.0, abs=0.05))


@pytest.mark.parametrize("hours", [1, 2])
def test_an_hour_or_two_are_no_trend(hours: int) -> None:
    """65 % of a year's errors came on one day (Delta): a burst is not the beginning of the end."""
    found = forecast([1, 0, 1, 0, 1] * 10 + [5000] * hours)
    assert (found.action, found.hours) == (MONITOR, math.inf)


def test_the_first_hours_are_too_few() -> None:
    rising = grown(25, 1, 4)
    assert forecast(rising[:24]).action is MONITOR
    assert forecast(rising).action is not MONITOR
    assert forecast(rising[:24], policy=Trend.Policy(hours_min=12.0)).action is not MONITOR


def test_the_limits_are_the_policys() -> None:
    counts = grown(100, 5, 24)
    assert forecast(counts).action is ORDER
    assert forecast(counts, policy=Trend.Policy(z_even=100.0)).action is MONITOR
    assert forecast(counts, policy=Trend.Policy(failing_errors_per_hour=90.0)).action is EVICT
    half = forecast(counts).hours - forecast(counts, policy=Trend.Policy(failing_errors_per_hour=500.0)).hours
    assert half == pytest.approx(24.0, abs=1.0)


@given(st.lists(st.integers(0, 2**53), max_size=168), st.floats(0.01, 1.0))
def test_whatever_is_counted_it_answers(counts: list[int], running_h: float) -> None:
    found = forecast(counts, running_h=running_h if counts else None)
    assert found.hours >= 0
    assert 0 <= found.confidence <= 1
