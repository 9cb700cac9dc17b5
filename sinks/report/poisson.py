"""How many occurrences are usual where so many are expected: Poisson statistics, without a library."""

from __future__ import annotations

from math import exp, inf, lgamma, log, sqrt

CONFIDENCE = 0.95
SIGMAS = 12.0  # what is further out has no weight that a float could hold beside 1.0


def interval(expected: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """The central interval: fewer than the first, and more than the last, each have at most half the rest.

    Occurrences that do not depend on one another, `expected` (>= 0) of them on average.
    """
    if expected <= 0.0:
        return 0, 0
    tail = (1.0 - confidence) / 2.0
    first = max(0, int(expected - SIGMAS * sqrt(expected)))
    low, total, count = -1, 0.0, first
    while True:
        total += exp(count * log(expected) - expected - lgamma(count + 1))
        if low < 0 and total > tail:
            low = count
        if total >= 1.0 - tail:
            return low, count
        if count > expected + SIGMAS * sqrt(expected) + 50.0:  # rounding has kept the sum from getting there
            return max(low, 0), count
        count += 1


def verdict(observed: int, low: float, high: float = inf) -> str:
    """In words: "usual", "more than usual" or "fewer than usual"."""
    if observed > high:
        return "more than usual"
    return "fewer than usual" if observed < low else "usual"
