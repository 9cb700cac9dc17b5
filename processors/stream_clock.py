"""The time of a stage: that of its records, so that a rerun sees the same."""

from __future__ import annotations

CREDIT_MS = 2_000  # the most that one gap of the stream clock counts towards silence


class StreamClock:
    """now_ms: the stream clock, the newest append time. credit_ms: the credited time, by which silence is measured."""

    __slots__ = ("credit_ms", "now_ms")

    def __init__(self) -> None:
        self.now_ms = 0
        self.credit_ms = 0

    def pass_to(self, ts: int) -> None:
        """`ts` is later than now."""
        gap = ts - self.now_ms if self.now_ms else 0
        self.credit_ms += gap if gap < CREDIT_MS else CREDIT_MS
        self.now_ms = ts
