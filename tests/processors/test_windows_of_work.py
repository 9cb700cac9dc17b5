"""Windows of work: weekdays and times, in UTC, as policies write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.windows_of_work import DAYS, is_open, parse

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def at(day: str, time: str) -> int:
    hours, minutes = map(int, time.split(":"))
    return int((MONDAY + timedelta(days=DAYS.index(day), hours=hours, minutes=minutes)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("windows", "day", "time", "open_"),
    [
        ([], "wed", "12:00", True),
        (["02:00-05:00"], "wed", "02:00", True),
        (["02:00-05:00"], "wed", "04:59", True),
        (["02:00-05:00"], "wed", "05:00", False),
        (["02:00-05:00"], "wed", "01:59", False),
        (["sat,sun"], "fri", "23:59", False),
        (["sat,sun"], "sat", "00:00", True),
        (["sat,sun"], "sun", "23:59", True),
        (["sat,sun"], "mon", "00:00", False),
        (["mon-fri 22:00-04:00"], "fri", "23:00", True),
        (["mon-fri 22:00-04:00"], "sat", "03:59", True),
        (["mon-fri 22:00-04:00"], "sun", "23:00", False),
        (["mon-fri 22:00-04:00"], "mon", "03:00", False),
        (["fri-mon 10:00-11:00"], "sun", "10:30", True),
        (["fri-mon 10:00-11:00"], "tue", "10:30", False),
        (["20:00-24:00"], "thu", "23:59", True),
        (["20:00-24:00"], "fri", "00:00", False),
        (["sun", "mon 10:00-11:00"], "mon", "10:00", True),
    ],
)
def test_when_a_window_is_open(windows: list[str], day: str, time: str, open_: bool) -> None:
    assert is_open(windows, at(day, time)) is open_


@pytest.mark.parametrize("text", ["", " ", "always", "monday", "25:00-26:00", "02:60-03:00", "2:00-3:00", "mon 02:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (window|weekday|time)"):
        parse(text)


@given(st.integers(0, 2**42), st.sampled_from(["sat,sun 03:10-03:20", "22:00-02:00", "thu"]))
def test_every_week_is_like_the_other(now_ms: int, window: str) -> None:
    assert is_open([window], now_ms) == is_open([window], now_ms + 7 * 86_400_000)
