"""Choosing among 100,000 GPUs by their weights, beside a scan of the list, and beside one that is kept summed."""

from __future__ import annotations

import random
import time
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate

import numpy as np

from pipeline.client.health_weights import HealthWeights
from pipeline.client.said import Said
from pipeline.client.source import Source
from pipeline.client.view import View
from sinks.fleet import AsOf

GPUS = 100_000
SINGLE, SCANS, CHANGES, MANY = 200_000, 20, 50_000, 1_000_000


class Told(Source):
    """Says once what it was given."""

    def __init__(self, said: list[Said]) -> None:
        self.problem = ""
        self.said = said

    def run(self, view: View) -> None:
        view.take(self.said)
        view.complete({one.key for one in self.said}, AsOf(offset=len(self.said)), time.monotonic() + 3600.0)

    def stop(self) -> None:
        pass


def said(rng: random.Random, gpu: int, offset: int) -> Said:
    weight = rng.choices((1.0, rng.uniform(0.31, 0.7), 0.0), (94, 4, 2))[0]
    return Said(f"GPU-{gpu:08x}", offset, f"0/cluster/0/{offset}/0", 0, f"node-{gpu // 8}", f"{gpu % 8}", weight)


def rate(times: int, run: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(times):
        run()
    return times / (time.process_time() - start)


def scan(rng: random.Random, names: list[str], weights: list[float]) -> str:
    at = rng.random() * sum(weights)
    for name, weight in zip(names, weights, strict=True):
        at -= weight
        if at < 0.0:
            return name
    raise AssertionError


def summed(rng: random.Random, names: list[str], weights: list[float]) -> str:
    """As after a change: the sums are made anew."""
    below = list(accumulate(weights))
    return names[bisect(below, rng.random() * below[-1])]


def main() -> None:
    rng = random.Random(1)
    fleet = [said(rng, gpu, gpu) for gpu in range(GPUS)]
    view = View()
    start = time.process_time()
    Told(fleet).run(view)
    built_s = time.process_time() - start
    held = HealthWeights(Told(fleet)).start()
    held.wait_ready()
    held.close()
    names, weights = [list(each) for each in zip(*held.weights().items(), strict=True)]
    single = rate(SINGLE, lambda: held.select(rng))
    scanned = rate(SCANS, lambda: scan(rng, names, weights))
    resummed = rate(SCANS, lambda: summed(rng, names, weights))
    changes = [[said(rng, rng.randrange(GPUS), GPUS + at)] for at in range(CHANGES)]
    news = iter(changes)
    changed = rate(CHANGES, lambda: view.take(next(news)))
    fast = np.random.default_rng(1)
    held.select_many(fast, MANY)
    many = MANY * rate(5, lambda: held.select_many(fast, MANY))
    small = 1000 * rate(300, lambda: held.select_many(fast, 1000))
    plain = np.array(weights)
    chosen = 1000 * rate(30, lambda: fast.choice(GPUS, 1000, p=plain / plain.sum()))
    print(f"{GPUS} GPUs taken in and ready in {built_s:.2f} s of processor time")
    print(f"select: {single:,.0f}/s, {single / scanned:,.0f} x a scan ({scanned:,.0f}/s)")
    print(f"  {single / resummed:,.0f} x summing anew and bisecting ({resummed:,.0f}/s)")
    print(f"a changed weight: {changed:,.0f}/s")
    print(f"select_many: {many:,.0f}/s by the million, {small:,.0f}/s by the thousand")
    print(f"  {small / chosen:,.1f} x numpy's choice by the thousand ({chosen:,.0f}/s)")


if __name__ == "__main__":
    main()
