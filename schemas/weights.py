"""The share of the traffic that a score stands for (specification, section 11)."""

from __future__ import annotations

ZERO_AT = 0.3
FULL_ABOVE = 0.7


def weight_of_score(score: float, zero_at: float = ZERO_AT, full_above: float = FULL_ABOVE) -> float:
    """0.0 for a score up to `zero_at` or one that is not a number, 1.0 above `full_above`, between them the score."""
    if not score > zero_at:
        return 0.0
    return score if score <= full_above else 1.0
