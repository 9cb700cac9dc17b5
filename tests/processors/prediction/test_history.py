"""Histories: a week of buckets, only those in which something came."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.prediction.history import Histories, History, Running
from processors.prediction.predictor import NOTHING, Bucket, Evidence, Forecast, Predictor
from processors.prediction.trend import Trend
from schemas.states import PredictionAction

TREND = Trend()


class Total(msgspec.Struct, frozen=True):
    errors: int = 0
    newest: int = 0


class Counting(Predictor):
    """Adds up."""

    name = "counting"
    State = Total

    def begin(self) -> Total:
        return Total()

    def observe(self, state: Total, bucket: Bucket, bucket_h: float) -> Total:
        return Total(state.errors + bucket.errors, bucket.number)

    def forecast(self, evidence: Evidence, state: Total, policy: Any) -> Forecast:
        return NOTHING


def history(*buckets: tuple[int, int, float], predictor: Predictor = TREND, before: float = 0.0) -> History:
    """Of (number, errors, level)."""
    made = History(before, state=predictor.begin())
    for number, errors, level in buckets:
        made.add(Bucket(number, errors, 0), level, predictor, 1.0)
    return made


def test_evidence_has_no_holes() -> None:
    told = history((12, 5, 5.0), (13, 2, 7.0), (15, 1, 8.0)).evidence(10, 17, 1.0)
    assert told == Evidence(10, 1.0, [0, 0, 5, 2, 0, 1, 0], [0] * 7, [0, 0, 5, 7, 7, 8, 8])


def test_it_begins_where_the_gpu_was_seen_first_and_not_before_the_week() -> None:
    made = history((1000, 5, 12.0), before=7.0)
    assert made.evidence(1000, 1002, 1.0).counts == [5, 0]
    week = made.evidence(1, 1002, 1.0)
    assert (week.first, len(week.counts), week.levels[0], week.levels[-1]) == (1002 - 168, 168, 7.0, 12.0)


def test_the_bucket_that_has_begun_comes_last() -> None:
    running = Running(Bucket(12, 3, 1), 8.0, 0.25)
    told = history((10, 5, 5.0)).evidence(10, 12, 1.0, running)
    assert (told.counts, told.uncorrectable, told.levels) == ([5, 0, 3], [0, 0, 1], [5.0, 5.0, 8.0])
    assert (told.lengths(), told.ends()) == ([1.0, 1.0, 0.25], [1.0, 2.0, 2.25])


def test_a_restart_to_zero_is_remembered_though_nothing_came() -> None:
    assert history((10, 5, 5.0), (11, 0, 5.0), (12, 0, 0.0)).numbers == [10, 12]


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 9)), max_size=80, unique_by=lambda each: each[0]))
def test_it_is_bounded_and_forgets_only_what_is_too_old(told: list[tuple[int, int]]) -> None:
    level, full = 0.0, History(0.0)
    for number, errors in sorted(told):
        level += errors
        full.add(Bucket(number, errors, 0), level, TREND, 1.0)
    assert len(full.numbers) <= 168
    end = max((number for number, _ in told), default=0) + 1
    first = max(1, end - 168)
    by_number = dict(told)
    evidence = full.evidence(1, end, 1.0)
    assert evidence.counts == [by_number.get(number, 0) for number in range(first, end)]
    assert evidence.levels == [sum(n for at, n in told if at <= number) for number in range(first, end)]


def test_the_predictors_state_has_seen_every_bucket_with_errors_even_forgotten_ones() -> None:
    made = history((1, 5, 5.0), (2, 0, 0.0), (500, 7, 7.0), predictor=Counting())
    assert made.state == Total(12, 500)
    assert made.numbers == [500]


SAID = Forecast(PredictionAction.ORDER_REPLACEMENT, math.inf, 0.75)


def saved() -> Histories:
    histories = Histories()
    histories.begin(7, history((1, 5, 5.0), (500, 7, 7.0), predictor=Counting()))
    histories.begin(3, History(math.nan, said=SAID))
    return histories


def loaded(predictor: Predictor | None, rebuild: Predictor) -> Histories:
    """Through the bytes of a checkpoint."""
    again = Histories()
    again.load(msgspec.msgpack.decode(msgspec.msgpack.encode(saved().save())), predictor, 1.0, rebuild)
    return again


def test_they_survive_a_checkpoint() -> None:
    again = loaded(Counting(), Counting())
    assert again.rows() == [3, 7]
    assert again[7] == saved()[7]
    assert (again[3].said, math.isnan(again[3].level_before)) == (SAID, True)


@pytest.mark.parametrize("same", [None, TREND])
def test_another_model_begins_with_what_is_remembered(same: Predictor | None) -> None:
    assert loaded(same, Counting())[7].state == Total(7, 500)


def test_a_state_of_an_unreadable_shape_is_made_anew() -> None:
    class Other(Counting):
        class State(msgspec.Struct, frozen=True):
            mean: float

    assert loaded(Other(), Counting())[7].state == Total(7, 500)


def test_a_copy_goes_its_own_way() -> None:
    histories = saved()
    histories.copy(7, 8)
    histories[8].add(Bucket(501, 1, 0), 8.0, Counting(), 1.0)
    assert (histories[7].numbers, histories[8].numbers) == ([500], [500, 501])
    assert (histories[7].state, histories[8].state) == (Total(12, 500), Total(13, 501))
    histories.forget(7)
    assert histories.rows() == [3, 8]
    assert 7 not in histories
