"""The product specification's predictor, exactly as written, as the baseline to compare others with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from processors.prediction.predictor import WINDOW_H, Evidence, Forecast, Predictor

POINTS_MIN = 24
ERRORS_TO_FAILURE = 1000


class Spec(Predictor):
    """The specification's section 6: a line through ln(count + 1) of the raw, cumulative counter of a week.

    Kept as it is written, flaws included. The counter is cumulative, so a constant rate of 7, 45 or 300 errors an
    hour orders a replacement, schedules maintenance or evicts, with no acceleration at all; so does a rate that
    falls. Failure is 1000 errors more than now, not 1000 an hour. Confidence is R^2 of exp(line) against the counts
    themselves, though the line was laid through ln(count + 1): no probability. A counter that restarts makes the
    line fall, hence "no failure ever". Simulated (1000 GPUs, half a year) it finds 5 to 12.5 % of uncorrectable
    errors at 39 to 15 % precision.

    A point is an hour (`prediction.points_every_s`): of samples a second apart, the 24 points that it asks for would
    be 24 seconds, of which one error makes a steep line.
    """

    name = "spec"

    def forecast(self, evidence: Evidence, state: Any, policy: Any) -> Forecast:
        ends = evidence.ends()
        points = [
            (hours, level)
            for hours, level in zip(ends, evidence.levels, strict=True)
            if ends[-1] - hours <= WINDOW_H and not math.isnan(level)
        ]
        forecast: Forecast = policy.forecast(*extrapolate(points))
        return forecast


def extrapolate(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(hours to failure, confidence) from points (hours, cumulative count), oldest first.

    (inf, 0) for fewer than 24 points, a count of 0, a line that does not rise, and equal counts, of which R^2 is not
    defined: there SS_tot is 0, and so is the slope.
    """
    if len(points) < POINTS_MIN:
        return math.inf, 0.0
    times, counts = [hours for hours, _ in points], [count for _, count in points]
    last = counts[-1]
    mean_count = math.fsum(counts) / len(counts)
    total = math.fsum((count - mean_count) ** 2 for count in counts)
    if last <= 0 or min(counts) == max(counts):
        return math.inf, 0.0
    logs = [math.log(count + 1) for count in counts]
    mean_time, mean_log = math.fsum(times) / len(times), math.fsum(logs) / len(logs)
    covariance = math.fsum((time - mean_time) * (log - mean_log) for time, log in zip(times, logs, strict=True))
    slope = covariance / math.fsum((time - mean_time) ** 2 for time in times)
    if slope <= 0:
        return math.inf, 0.0
    fit = [math.exp(mean_log + slope * (time - mean_time)) for time in times]
    residual = math.fsum((count - fitted) ** 2 for count, fitted in zip(counts, fit, strict=True))
    hours = max(0.0, (math.log(last + ERRORS_TO_FAILURE) - math.log(last)) / slope)
    return hours, max(0.0, 1 - residual / total)
