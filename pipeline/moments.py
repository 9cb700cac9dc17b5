"""Points in time as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.errors import UsageProblem
from pipeline.settings import parse_duration

EPOCH_MS_MIN = 100_000_000_000  # a plain number from here on is a time in ms (1973), below it a duration in seconds


def parse_moment(option: str, text: str, now_ms: int) -> int:
    """Ms since the epoch of "2026-01-01T00:10:00Z" (UTC where no zone is named), "2026-01-01", or "10m" (ago).

    A number of 12 digits and more is taken as ms since the epoch. Raises UsageProblem, naming `option`.
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and int(text) >= EPOCH_MS_MIN:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1000))
    try:
        return max(0, now_ms - int(1000 * parse_duration(text)))
    except UsageProblem:
        raise UsageProblem(
            f"{option}: not a time: {text}", "a moment, as in 2026-01-01T00:10:00Z, or how long ago, as in 10m"
        ) from None


def shown(ms: int) -> str:
    """UTC, to the second: "2026-01-01 00:10:00"."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
