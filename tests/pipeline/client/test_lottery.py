"""Draws are in exact proportion to the weights, whatever has changed before."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.client import lottery
from pipeline.client.lottery import UNITS, Lottery

NAMES = [f"g{number}" for number in range(12)]
CHANGES = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.floats(0.0, 1.0)), max_size=60)
CHI_SQUARE_15_MAX = 37.70  # 15 degrees of freedom: 1 in 1,000 is above


class At(random.Random):
    """Always says the same."""

    def __init__(self, at):
        self.at = at

    def getrandbits(self, bits):
        return self.at


def shares(drawn_at, low, high):
    """The units of each name between low and high, both drawn: each name has one stretch of them."""
    first, last = drawn_at(low), drawn_at(high)
    if first == last:
        return Counter({first: high - low + 1})
    middle = (low + high) // 2
    return shares(drawn_at, low, middle) + shares(drawn_at, middle + 1, high)


def units(weights):
    return {name: max(1, round(weight * UNITS)) for name, weight in weights.items() if weight}


@pytest.mark.parametrize("fan", [2, 3, 64])
@given(changes=CHANGES)
def test_each_name_has_exactly_its_share_after_any_changes(fan, changes):
    before, lottery.FAN = lottery.FAN, fan
    try:
        made, naive = Lottery(), {}
        for name, weight in changes:
            if weight is None:
                made.remove(name)
                naive.pop(name, None)
            else:
                made.set(name, weight)
                naive[name] = weight
        assert made.weights() == naive
        assert made.total == sum(units(naive).values())
        if made.total:
            assert shares(lambda at: made.draw(At(at)), 0, made.total - 1) == units(naive)
            table = Counter(made.table().draw(np.random.default_rng(1), 500))
            assert table.keys() <= units(naive).keys()
    finally:
        lottery.FAN = before


def sixteen():
    return {f"w{number}": (number % 8) / 8 + 0.125 for number in range(16)}


def single(made, n):
    rng = random.Random(7)
    return [made.draw(rng) for _ in range(n)]


def vectorised(made, n):
    return made.table().draw(np.random.default_rng(7), n)


@pytest.mark.parametrize("draw", [single, vectorised])
def test_draws_at_random_fit_the_weights(draw):
    weights = sixteen()
    counts = Counter(draw(Lottery({**weights, "none": 0.0}), 40_000))
    assert counts.keys() == weights.keys()
    total = sum(weights.values())
    expected = {name: 40_000 * weight / total for name, weight in weights.items()}
    assert sum((counts[name] - share) ** 2 / share for name, share in expected.items()) < CHI_SQUARE_15_MAX


@pytest.mark.parametrize("draw", [single, vectorised])
def test_the_one_of_many_that_weighs_a_little_is_always_found(draw):
    made = Lottery({f"g{number}": 0.0 for number in range(5000)})
    made.set("g4321", 5e-324)
    assert draw(made, 100) == ["g4321"] * 100


def test_a_table_stays_as_it_was_made():
    made = Lottery({"a": 1.0})
    table = made.table()
    made.set("a", 0.0)
    made.set("b", 1.0)
    assert table.draw(np.random.default_rng(1), 3) == ["a"] * 3
    assert made.table().draw(np.random.default_rng(1), 3) == ["b"] * 3
    made.remove("b")
    made.set("c", 1.0)
    assert made.table().draw(np.random.default_rng(1), 3) == ["c"] * 3


@pytest.mark.parametrize("made", [Lottery(), Lottery({"a": 0.0})])
def test_nothing_is_drawn_from_nothing(made):
    with pytest.raises(IndexError, match="all weights are 0"):
        made.draw(random.Random(1))
    with pytest.raises(IndexError, match="all weights are 0"):
        made.table().draw(np.random.default_rng(1), 1)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_what_is_no_weight_is_refused_and_changes_nothing(weight):
    made = Lottery({"a": 0.5})
    with pytest.raises(ValueError, match="a: weight"):
        made.set("a", weight)
    assert made.weights() == {"a": 0.5}
