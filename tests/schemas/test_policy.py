"""Thresholds cut exactly where they say."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.policy import Caps, Thresholds

RISING = Thresholds(warning=10.0, critical=100.0, evict=1000.0)


@pytest.mark.parametrize(
    ("limits", "value", "level"),
    [
        (RISING, 10.0, 0),
        (RISING, 10.000001, 1),
        (RISING, 100.0, 1),
        (RISING, 100.000001, 2),
        (RISING, 1000.0, 2),
        (RISING, math.inf, 3),
        (RISING, math.nan, -1),
        (Thresholds(critical=1.0, evict=3.0, inclusive=True), 0.999, 0),
        (Thresholds(critical=1.0, evict=3.0, inclusive=True), 1.0, 2),
        (Thresholds(critical=1.0, evict=3.0, inclusive=True), 3.0, 3),
        (Thresholds(warning=5.0, critical=0.0, falling=True, inclusive=True), 5.0, 1),
        (Thresholds(warning=5.0, critical=0.0, falling=True, inclusive=True), 5.1, 0),
        (Thresholds(warning=5.0, critical=0.0, falling=True), 0.0, 1),
        (Thresholds(), 1e9, 0),
    ],
)
def test_a_value_is_in_the_class_whose_limit_it_passes(limits: Thresholds, value: float, level: int) -> None:
    assert limits.classes(np.array([value])).tolist() == [level]


def test_infinity_switches_a_step_off_in_every_spelling() -> None:
    off = Thresholds(warning=math.inf, critical=85.0, evict=90.0)
    assert off == Thresholds(critical=85.0, evict=90.0)
    assert msgspec.json.decode(msgspec.json.encode(off), type=Thresholds) == off


@given(st.lists(st.floats(allow_nan=False), min_size=3, max_size=3, unique=True))
def test_limits_out_of_order_are_refused(limits: list[float]) -> None:
    finite = [limit for limit in limits if math.isfinite(limit)]
    if finite == sorted(finite):
        Thresholds(*limits)
    else:
        with pytest.raises(ValueError, match="limits must be rising"):
            Thresholds(*limits)


def test_caps_must_fall() -> None:
    with pytest.raises(ValueError, match="caps must fall"):
        Caps(warning=0.3, critical=0.7)
