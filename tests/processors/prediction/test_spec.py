"""The specification's predictor as it is written: exact numbers, and each of its quirks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.prediction.predictor import NOTHING, Evidence, Forecast
from processors.prediction.spec import Spec, extrapolate
from schemas.states import PredictionAction

MONITOR, ORDER, SCHEDULE, EVICT = PredictionAction
SPEC = Spec()


def forecast(levels: Sequence[float], bucket_h: float = 1.0) -> Forecast:
    """Of a counter that stood at `levels` at the end of each bucket."""
    nothing = [0] * len(levels)
    return SPEC.forecast(Evidence(0, bucket_h, nothing, nothing, list(levels)), None, Spec.Policy())


def by_numpy(hours: Sequence[float], counts: Sequence[float]) -> tuple[float, float]:
    """The specification's sentences once more, with another's least squares."""
    x, y = np.array(hours), np.array(counts)
    slope, offset = np.polyfit(x, np.log(y + 1), 1)
    if slope <= 0 or y[-1] <= 0:
        return math.inf, 0.0
    left = max(0.0, (math.log(y[-1] + 1000) - math.log(y[-1])) / slope)
    residual, total = ((y - np.exp(slope * x + offset)) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return left, max(0.0, float(1 - residual / total))


# Per hour: action, hours, confidence; by numpy.polyfit over one week of hourly points.
CONSTANT = {7: (ORDER, 35.74150, 0.645262), 45: (SCHEDULE, 7.17673, 0.638159), 300: (EVICT, 1.13403, 0.636998)}


@pytest.mark.parametrize("per_hour", CONSTANT)
def test_a_constant_rate_predicts_failure_without_any_acceleration(per_hour: int) -> None:
    action, hours, confidence = CONSTANT[per_hour]
    found = forecast([float(per_hour * hour) for hour in range(1, 169)])
    assert found == (action, pytest.approx(hours, abs=1e-3), pytest.approx(confidence, abs=1e-5))


@given(
    st.lists(st.integers(0, 10_000), min_size=24, max_size=168),
    st.integers(0, 100_000),
    st.sampled_from([0.25, 1.0, 7.0]),
)
def test_it_is_least_squares_and_r_squared_of_raw_counts(increases: list[int], start: int, bucket_h: float) -> None:
    counts = np.cumsum([start, *increases])[1:].astype(float).tolist()
    counts = counts[: int(168 / bucket_h)]
    hours = [bucket_h * (at + 1) for at in range(len(counts))]
    found = extrapolate(list(zip(hours, counts, strict=True)))
    if len(counts) < 24 or min(counts) == max(counts):
        assert found == (math.inf, 0.0)
    else:
        assert found == (pytest.approx(by_numpy(hours, counts)[0]), pytest.approx(by_numpy(hours, counts)[1], abs=1e-7))


def test_1000_is_a_count_beyond_the_last_not_a_rate() -> None:
    """Doubling once a day, exactly: the hours left are those in which the total grows by 1000."""
    counts = [2 ** (hour / 24) * 1000 - 1 for hour in range(48)]
    left, confidence = extrapolate([(float(hour), count) for hour, count in enumerate(counts)])
    assert left == pytest.approx(24 * math.log2((counts[-1] + 1000) / counts[-1]))
    assert confidence == pytest.approx(1.0, abs=1e-5)


def test_r_squared_compares_a_fit_of_count_plus_one_with_counts() -> None:
    """A perfect line through ln(count + 1) is off by one everywhere: not quite 1.0."""
    counts = [2 ** (hour / 6) - 1 for hour in range(1, 49)]
    _, confidence = extrapolate([(float(hour), count) for hour, count in enumerate(counts)])
    total = sum((count - sum(counts) / 48) ** 2 for count in counts)
    assert confidence == pytest.approx(1 - 48 / total)


def test_a_decelerating_curve_schedules_maintenance() -> None:
    """Errors become rarer all the time: with the square root of time."""
    counts = [1000 * math.sqrt(hour) for hour in range(1, 169)]
    assert (np.diff(counts, 2) < 0).all()
    assert forecast(counts).action is SCHEDULE


def test_a_restart_of_the_counter_means_no_failure_ever() -> None:
    """Errors come faster and faster, and the driver is loaded anew: the line falls."""
    counts = [float(2**hour) for hour in range(20)] + [float(hour) for hour in range(20)]
    assert forecast(counts) == NOTHING


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ([float(hour) for hour in range(1, 24)], "23 points"),
        ([5.0] * 100, "no variance: R^2 is not defined, and the slope is 0"),
        ([0.1] * 100, "the same, where a mean of equal numbers need not be equal to them"),
        ([float(hour) for hour in range(100)] + [0.0], "the last count is 0"),
        ([float(100 - hour) for hour in range(50)], "the line falls"),
    ],
)
def test_no_failure_is_foreseen(counts: list[float], why: str) -> None:
    assert forecast(counts) == NOTHING, why


def test_24_points_are_enough() -> None:
    assert forecast([float(3**hour) for hour in range(24)]).action is EVICT


def test_points_in_which_the_counter_was_blank_do_not_count() -> None:
    rising = [float(3**hour) for hour in range(23)]
    assert forecast([math.nan, *rising]) == NOTHING
    assert forecast([1.0, math.nan, *rising]).action is EVICT


def test_only_a_week_counts() -> None:
    """Buckets of seven hours: 25 points span a week."""
    counts = [1e9] * 10 + [float(2**at) for at in range(25)]
    assert forecast(counts, 7.0) == forecast(counts[10:], 7.0)


@pytest.mark.parametrize(
    ("hours", "confidence", "action"),
    [
        (0.0, 0.499, MONITOR),
        (0.0, 0.5, EVICT),
        (3.999, 0.5, EVICT),
        (4.0, 0.5, SCHEDULE),
        (23.999, 1.0, SCHEDULE),
        (24.0, 1.0, ORDER),
        (167.999, 1.0, ORDER),
        (168.0, 1.0, MONITOR),
        (math.inf, 1.0, MONITOR),
    ],
)
def test_actions(hours: float, confidence: float, action: PredictionAction) -> None:
    assert Spec.Policy().forecast(hours, confidence) == (action, hours, confidence)
