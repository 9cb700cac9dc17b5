from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.report.window import HOUR_MS, Spans, Window

HOURS = 48
WINDOW = Window(1_000 * HOUR_MS, (1_000 + HOURS) * HOUR_MS)


def at(hour: float) -> int:
    return WINDOW.start + round(hour * HOUR_MS)


def test_time_counts_in_the_state_that_a_gpu_is_in() -> None:
    spans = Spans(WINDOW)
    spans.change("a", "healthy", at(-100))  # came into the window like that
    spans.change("a", "failed", at(12))
    spans.change("b", "healthy", at(24))
    spans.change("b", None, at(30))
    spans.finish()
    assert dict(spans.hours) == {"healthy": pytest.approx(12 + 6), "failed": pytest.approx(36)}
    assert spans.states() == {"failed": 1}


def test_a_change_that_is_told_late_takes_no_time_back() -> None:
    spans = Spans(WINDOW)
    spans.change("a", "healthy", at(10))
    spans.change("a", "failed", at(9))
    spans.finish()
    assert dict(spans.hours) == {"failed": pytest.approx(38)}


changes = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", None]), st.integers(0, 60)), max_size=40
)


@given(changes)
def test_the_parts_of_the_window_hold_what_the_whole_holds(told: list[tuple[str, str | None, int]]) -> None:
    spans = Spans(WINDOW)
    for key, state, hour in sorted(told, key=lambda change: change[2]):
        spans.change(key, state, at(hour - 6))
    spans.finish()
    for state, hours in spans.hours.items():
        parts = spans.buckets[state].hours()
        assert sum(parts) == pytest.approx(hours)
        assert all(-1e-9 <= part <= 3.0 * HOURS / len(parts) + 1e-9 for part in parts)
    assert sum(spans.hours.values()) <= 3 * HOURS + 1e-6
