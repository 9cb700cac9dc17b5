from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.dcgm.values import measured
from schemas.fields import BLANK_FP64, BLANK_INT32, SMALL_BLANKS

INT64_BLANK = 9223372036854775792


@pytest.mark.parametrize("why", range(4))
def test_whatever_says_that_there_is_no_value_is_none(why: int) -> None:
    assert measured("i", 0, INT64_BLANK + why) is None
    assert measured("i", 0, BLANK_INT32 + why) is None
    assert measured("i", 0, int(BLANK_FP64) + why) is None
    assert measured("d", 0, BLANK_FP64 + why) is None


@pytest.mark.parametrize("status", [-8, -14, -16, -18])
def test_a_value_with_an_error_is_none_whatever_stands_there(status: int) -> None:
    assert measured("i", status, 40) is None


def test_what_is_no_number_is_none() -> None:
    assert measured("d", 0, math.nan) is None
    assert measured("s", 0, 1) is None


@given(st.integers(-(2**31), INT64_BLANK - 1).filter(lambda count: count not in SMALL_BLANKS))
@example(BLANK_INT32 - 1)
@example(BLANK_INT32 + 4)
@example(int(BLANK_FP64) + 4)
def test_a_count_is_itself_however_large(count: int) -> None:
    """Two days of throttling are more nanoseconds than the blank of a double."""
    assert measured("i", 0, count) == count


@given(st.floats(-1e6, 1e12))
def test_a_measurement_is_itself(watts: float) -> None:
    assert measured("d", 0, watts) == watts
