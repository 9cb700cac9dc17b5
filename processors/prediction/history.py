"""What is remembered of the errors of single GPUs: whole buckets of node time, only those in which any came."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from processors.prediction.predictor import NOTHING, WINDOW_H, Bucket, Evidence, Forecast, Predictor


class Running(msgspec.Struct, frozen=True):
    """The bucket that has begun: what came in it so far, and how many of its hours have passed."""

    bucket: Bucket
    level: float
    hours: float


class History(msgspec.Struct, array_like=True):
    """One GPU's last week, oldest first: buckets without an error, and without a restart of the counter, are left out.

    level_before: the raw counter before the first of them. state: the predictor's own. said: the newest forecast that
    was published.
    """

    level_before: float
    numbers: list[int] = []
    counts: list[int] = []
    uncorrectable: list[int] = []
    levels: list[float] = []
    state: Any = None
    said: Forecast = NOTHING

    def add(self, bucket: Bucket, level: float, predictor: Predictor, bucket_h: float) -> None:
        """A bucket is over. Numbers rise."""
        if bucket.errors or bucket.uncorrectable:
            self.state = predictor.observe(self.state, bucket, bucket_h)
        elif level == (self.levels[-1] if self.levels else self.level_before):
            return
        self.numbers.append(bucket.number)
        self.counts.append(bucket.errors)
        self.uncorrectable.append(bucket.uncorrectable)
        self.levels.append(level)
        self._forget_before(bucket.number + 1 - buckets_in_window(bucket_h))

    def _forget_before(self, number: int) -> None:
        old = sum(each < number for each in self.numbers)
        if old:
            self.level_before = self.levels[old - 1]
            for column in (self.numbers, self.counts, self.uncorrectable, self.levels):
                del column[:old]

    def rebuild(self, predictor: Predictor, bucket_h: float) -> None:
        """The state, from what is remembered."""
        self.state = predictor.begin()
        for number, errors, uncorrectable in zip(self.numbers, self.counts, self.uncorrectable, strict=True):
            if errors or uncorrectable:
                self.state = predictor.observe(self.state, Bucket(number, errors, uncorrectable), bucket_h)

    def evidence(self, since: int, end: int, bucket_h: float, running: Running | None = None) -> Evidence:
        """The whole buckets before `end`, no earlier than `since`, and `running`, whose number is `end`."""
        first = max(min(since, end), end - buckets_in_window(bucket_h))
        size = end - first
        counts, uncorrectable, levels = [0] * size, [0] * size, [math.nan] * size
        level, at = self.level_before, 0
        for number, errors, others, after in zip(
            self.numbers, self.counts, self.uncorrectable, self.levels, strict=True
        ):
            if number >= end:
                break
            if number >= first:
                levels[at : number - first] = [level] * (number - first - at)
                at = number - first
                counts[at], uncorrectable[at] = errors, others
            level = after
        levels[at:] = [level] * (size - at)
        if running is not None:
            counts.append(running.bucket.errors)
            uncorrectable.append(running.bucket.uncorrectable)
            levels.append(running.level)
        hours = None if running is None else running.hours
        return Evidence(first, bucket_h, counts, uncorrectable, levels, hours)


def buckets_in_window(bucket_h: float) -> int:
    return int(WINDOW_H / bucket_h + 1e-9)


class Histories:
    """By row; only GPUs that ever showed an error have one, about 5 % of a fleet (Delta, 388 days: 5.1 %)."""

    def __init__(self) -> None:
        self._by_row: dict[int, History] = {}

    def __len__(self) -> int:
        return len(self._by_row)

    def __contains__(self, row: int) -> bool:
        return row in self._by_row

    def __getitem__(self, row: int) -> History:
        return self._by_row[row]

    def begin(self, row: int, history: History) -> None:
        self._by_row[row] = history

    def rows(self) -> list[int]:
        """Rising."""
        return sorted(self._by_row)

    def forget(self, row: int) -> None:
        self._by_row.pop(row, None)

    def copy(self, source: int, target: int) -> None:
        """`target` has had the errors of `source`, from now on apart from it."""
        self._by_row[target] = _read(_saved(self._by_row[source]))
        self._by_row[target].state = self._by_row[source].state  # states do not change in place

    def save(self) -> list[list[Any]]:
        """[row, history] of each."""
        return [[row, _saved(self._by_row[row])] for row in self.rows()]

    def load(self, saved: list[list[Any]], predictor: Predictor | None, bucket_h: float, rebuild: Predictor) -> None:
        """What `save` gave. predictor: whose states these are; None, or not readable: `rebuild` makes them anew."""
        self._by_row = {row: _read(history) for row, history in saved}
        for history in self._by_row.values():
            if predictor is None or predictor.State is None:
                history.rebuild(rebuild, bucket_h)
                continue
            try:
                history.state = msgspec.convert(history.state, predictor.State)
            except msgspec.ValidationError:
                history.rebuild(rebuild, bucket_h)


def _saved(history: History) -> Any:
    return msgspec.to_builtins(history)


def _read(saved: Any) -> History:
    return msgspec.convert(saved, History)
