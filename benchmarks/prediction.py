"""Predictors on simulated GPUs, hour by hour for half a year: how often each would call for something to be done.

No public data hold correctable errors of current GPUs together with their failures; these are seeded draws.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from processors.prediction.history import History
from processors.prediction.predictor import Bucket, discover
from schemas.states import PredictionAction

HOURS = 26 * 168
GPUS = 20  # of each kind
EPISODE_H = 168  # one alarm per GPU and week counts once

World = Callable[[random.Random], Iterator[int]]


def steady(rate: float) -> World:
    """Independent errors, `rate` an hour."""

    def hours(draw: random.Random) -> Iterator[int]:
        while True:
            yield poisson(draw, rate)

    return hours


def chronic(active: float, mean: float) -> World:
    """Bursts that last some hours, in `active` of all hours, `mean` errors an hour: like field data of HBM."""

    def hours(draw: random.Random) -> Iterator[int]:
        on = False
        while True:
            on = draw.random() > 0.3 if on else draw.random() < 0.3 * active / (1 - active)
            yield max(1, int(draw.expovariate(1 / mean))) if on else 0

    return hours


def failing(doubling_h: float) -> World:
    """One error an hour at first, twice as many after each `doubling_h` hours, until 1000 an hour; then replaced."""

    def hours(draw: random.Random) -> Iterator[int]:
        until = doubling_h * math.log2(1000)
        for hour in range(HOURS):
            yield poisson(draw, 2 ** (hour % until / doubling_h))

    return hours


def poisson(draw: random.Random, mean: float) -> int:
    if mean > 50:  # near enough
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    count, time = 0, draw.expovariate(mean)
    while time < 1.0:
        count, time = count + 1, time + draw.expovariate(mean)
    return count


def alarms(model: str, counts: Iterator[int], hours: int) -> int:
    """Weeks in which a GPU would be called a case for anything but monitoring."""
    predictor = discover()[model]
    policy, level, found, quiet_until = predictor.Policy(), 0.0, 0, 0
    history = History(0.0, state=predictor.begin())
    for number in range(1, hours):
        errors = next(counts)
        level += errors
        history.add(Bucket(number, errors, 0), level, predictor, 1.0)
        if number < quiet_until or not history.numbers:
            continue
        evidence = history.evidence(1, number + 1, 1.0)
        if predictor.forecast(evidence, history.state, policy).action is not PredictionAction.MONITOR:
            found, quiet_until = found + 1, number + EPISODE_H
    return found


def main() -> None:
    print(f"{'alarms per GPU and week (one a week counts)':48}{'default':>12}{'spec':>12}")
    worlds = {
        "constant, 0.1 errors an hour": steady(0.1),
        "constant, 1 error an hour": steady(1.0),
        "constant, 10 errors an hour": steady(10.0),
        "bursts, 2 % of hours, 4 errors an hour": chronic(0.02, 4),
        "bursts, 5 % of hours, 20 errors an hour": chronic(0.05, 20),
        "bursts, 12 % of hours, 60 errors an hour": chronic(0.12, 60),
    }
    for name, world in worlds.items():
        row(name, world, HOURS, GPUS * HOURS / EPISODE_H)
    print(f"{'GPUs found before they reach 1000 errors an hour':48}")
    for doubling_h in (6, 12, 24):
        row(f"twice as many each {doubling_h} h", failing(doubling_h), int(doubling_h * math.log2(1000)), GPUS, most=1)


def row(name: str, world: World, hours: int, of: float, most: int = HOURS) -> None:
    shares = []
    for model in ("default", "spec"):
        found = [min(alarms(model, world(random.Random(seed)), hours), most) for seed in range(GPUS)]
        shares.append(sum(found) / of)
    print(f"  {name:46}{shares[0]:12.4f}{shares[1]:12.4f}", flush=True)


if __name__ == "__main__":
    main()
