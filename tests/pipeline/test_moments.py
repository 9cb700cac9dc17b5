"""Times are read as people write them."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageProblem
from pipeline.moments import parse_moment, shown

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-01-01T00:10:00Z", NOW_MS + 600_000),
        ("2026-01-01T01:10:00+01:00", NOW_MS + 600_000),
        ("2026-01-01 00:10", NOW_MS + 600_000),
        ("2026-01-01", NOW_MS),
        ("10m", NOW_MS - 600_000),
        ("0.5h", NOW_MS - 1_800_000),
        ("90", NOW_MS - 90_000),
        ("1767225606000", NOW_MS + 6_000),
        ("1960-01-01", 0),
        ("99999d", 0),
    ],
)
def test_moments(text: str, ms: int) -> None:
    assert parse_moment("--from", text, NOW_MS) == ms


def test_what_is_no_time_is_named() -> None:
    with pytest.raises(UsageProblem, match="--from: not a time: yesterday"):
        parse_moment("--from", "yesterday", NOW_MS)


def test_shown_in_utc() -> None:
    assert shown(NOW_MS + 61_000) == "2026-01-01 00:01:01"
