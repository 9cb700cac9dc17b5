"""The repair of the specification's predictor: the same actions, decided on whether the *rate* of errors rises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import msgspec

from processors.prediction.predictor import Actions, Evidence, Forecast, Predictor

HALVINGS = 40
GROWTH_MAX = 3.0  # of ln(rate) an hour, e^3 = 20 times: steeper is a step, not a trend, and overflows nothing


class Trend(Predictor):
    """Hours until correctable errors come at 1000 an hour, if their rate keeps growing as it does.

    Errors are counted by increments, so a counter may restart. The rate is rate_now x e^(growth x hours), the
    exponential of largest likelihood through all whole hours since the first with errors. It is a trend if it stands
    out of the scatter (z, a score test with the scatter measured, as errors come in bursts), if every quarter of the
    time saw more than the one before, and if no two hours make it up: both highest hours count only as much as the
    third. A constant rate, noise around one, and a falling rate predict nothing.

    confidence is z^2 / (z^2 + z_even^2), 0.5 at `z_even`: a share of what is trend rather than scatter, no
    probability of failure. What to expect, from a simulated fleet (no field data exist): a predictor of this kind
    finds 21 % of uncorrectable errors an hour or more ahead, at 36 % precision.
    """

    name = "default"

    class Policy(Actions, frozen=True, forbid_unknown_fields=True, kw_only=True):
        """failing_errors_per_hour: the rate that counts as failure. hours_min: of history since the first error.

        z_even: how many standard errors the growth must measure for a confidence of 0.5.
        """

        failing_errors_per_hour: Annotated[float, msgspec.Meta(gt=0.0)] = 1000.0
        hours_min: Annotated[float, msgspec.Meta(ge=4.0, le=168.0)] = 24.0
        z_even: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 4.0

    def forecast(self, evidence: Evidence, state: Any, policy: Any) -> Forecast:
        trend = rising(evidence, policy.hours_min)
        confidence = 0.0
        if trend is not None:
            confidence = trend.z**2 / (trend.z**2 + policy.z_even**2)
        if trend is None or confidence < policy.confidence_min:  # what is no trend leads nowhere
            nothing: Forecast = policy.forecast(math.inf, confidence)
            return nothing
        hours = (math.log(policy.failing_errors_per_hour) - math.log(trend.rate)) / trend.growth
        forecast: Forecast = policy.forecast(max(0.0, hours), confidence)
        return forecast


class Rise(NamedTuple):
    """z: growth in standard errors. growth: of ln(rate) per hour. rate: errors per hour now."""

    z: float
    growth: float
    rate: float


def rising(evidence: Evidence, hours_min: float) -> Rise | None:
    """The trend of errors since the first; None if they do not rise.

    The bucket of the first error itself is left out: it tells when we began to look.
    """
    began = next((at for at, count in enumerate(evidence.counts) if count), len(evidence.counts)) + 1
    counts, lengths = _without_peaks(evidence.counts[began:]), evidence.lengths()[began:]
    if len(counts) < 4 or not any(counts) or math.fsum(lengths) < hours_min:
        return None
    ends = evidence.ends()[began:]
    times = [end - length / 2 - ends[-1] for end, length in zip(ends, lengths, strict=True)]
    if not _grows_by_quarters(counts, lengths):
        return None
    total, exposure = sum(counts), math.fsum(lengths)
    rate = total / exposure
    centre = math.fsum(length * time for length, time in zip(lengths, times, strict=True)) / exposure
    score = math.fsum(count * (time - centre) for count, time in zip(counts, times, strict=True))
    spread = math.fsum(length * (time - centre) ** 2 for length, time in zip(lengths, times, strict=True))
    if score <= 0 or spread <= 0:
        return None
    growth = _growth(times, lengths, centre + score / total)
    weights = [length * math.exp(growth * time) for length, time in zip(lengths, times, strict=True)]
    rate_now = total / math.fsum(weights)
    fitted = [rate_now * weight for weight in weights]
    misfit = math.fsum((count - fit) ** 2 / fit for count, fit in zip(counts, fitted, strict=True) if fit > 0)
    scatter = max(1.0, misfit / (len(counts) - 2))  # 1: independent errors
    return Rise(score / math.sqrt(rate * spread * scatter), growth, rate_now)


def _without_peaks(counts: Sequence[int]) -> list[int]:
    """The two highest are cut down to the third."""
    third = sorted(counts, reverse=True)[2] if len(counts) > 2 else 0
    return [min(count, third) for count in counts]


def _grows_by_quarters(counts: Sequence[int], lengths: Sequence[float]) -> bool:
    """Whether each quarter of the buckets has a higher rate than the one before."""
    edges = [len(counts) * quarter // 4 for quarter in range(5)]
    rates = [sum(counts[a:b]) / math.fsum(lengths[a:b]) for a, b in pairwise(edges)]
    return all(before < after for before, after in pairwise(rates))


def _growth(times: Sequence[float], lengths: Sequence[float], mean_time: float) -> float:
    """The g > 0 for which e^(g x time) has its weight at `mean_time`, by halving an interval: no start to choose."""
    low, high = 0.0, GROWTH_MAX
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        weights = [length * math.exp(middle * time) for length, time in zip(lengths, times, strict=True)]
        centre = math.fsum(w * time for w, time in zip(weights, times, strict=True)) / math.fsum(weights)
        low, high = (middle, high) if centre < mean_time else (low, middle)
    return (low + high) / 2
