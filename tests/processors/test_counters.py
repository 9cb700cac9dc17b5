"""Increases of counters against a straightforward model of one GPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.counters import Counters
from processors.testing import Observations, judge
from schemas.fields import (
    ECC_SBE_VOLATILE,
    FIELDS,
    GPU_TEMP,
    GROWING,
    RETIRED_SBE,
    ROW_REMAP_FAILURE,
    SMALL_BLANKS,
    Kind,
)

NAN = math.nan
WATCHED = [ECC_SBE_VOLATILE, RETIRED_SBE, ROW_REMAP_FAILURE]  # a counter, a level, a flag
ROWS = 3


class Model:
    """One field of one GPU."""

    def __init__(self, volatile: bool) -> None:
        self.volatile = volatile
        self.known: float | None = None

    def restart(self) -> None:
        if self.volatile and self.known is not None:
            self.known = 0.0

    def forget(self) -> None:
        self.known = None

    def increase(self, value: float) -> float:
        if not 0 <= value < math.inf:
            return NAN
        before, self.known = self.known, value
        if before is None:
            return 0.0
        return value - before if value >= before else value


def update(counters: Counters, field: int, rows: list[int], values: list[float]) -> Any:
    """The increases at a single tick."""
    block = np.array([[values]])
    return counters.update(np.array([field]), np.array(rows), block)[0][0, 0]


VALUES = st.one_of(
    st.integers(0, 20).map(float), st.integers(0, 2**52).map(float), st.sampled_from([NAN, math.inf, -math.inf, -1.0])
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("restart"), st.integers(0, ROWS - 1), st.just(0), st.just(0.0)),
        st.tuples(st.just("forget"), st.integers(0, ROWS - 1), st.just(0), st.just(0.0)),
        st.tuples(st.just("value"), st.integers(0, ROWS - 1), st.integers(0, len(WATCHED) - 1), VALUES),
    ),
    max_size=60,
)


@given(STEPS)
def test_increases_are_those_of_a_single_gpu_counted_by_hand(steps: list[tuple[str, int, int, float]]) -> None:
    counters = Counters(WATCHED, ROWS)
    model = [[Model(field == ECC_SBE_VOLATILE) for _ in range(ROWS)] for field in WATCHED]
    for what, row, field, value in steps:
        if what == "value":
            found = update(counters, field, [row], [value])
            expected = model[field][row].increase(value)
            assert found[0] == expected or (math.isnan(found[0]) and math.isnan(expected))
        else:
            getattr(counters, what)(np.array([row]))
            for fields in model:
                getattr(fields[row], what)()


@given(st.lists(st.lists(VALUES, min_size=ROWS, max_size=ROWS), max_size=20))
def test_gpus_do_not_influence_one_another(ticks: list[list[float]]) -> None:
    counters, model = Counters(WATCHED, ROWS), [Model(True) for _ in range(ROWS)]
    for values in ticks:
        found = update(counters, 0, [0, 1, 2], values)
        expected = np.array([gpu.increase(value) for gpu, value in zip(model, values, strict=True)])
        np.testing.assert_array_equal(found, expected)


BLOCK = st.lists(st.lists(VALUES, min_size=ROWS, max_size=ROWS), min_size=1, max_size=5)


@given(st.lists(st.tuples(BLOCK, st.booleans()), max_size=6))
def test_many_ticks_at_once_are_as_one_after_the_other(blocks: list[tuple[list[list[float]], bool]]) -> None:
    """[tick][GPU]; between them a restart, or not. A field that stays blank goes along."""
    whole, single = Counters(WATCHED, ROWS), Counters(WATCHED, ROWS)
    fields, rows = np.array([0, 2]), np.arange(ROWS)
    for ticks, restarts in blocks:
        values = np.stack([np.array(ticks), np.full((len(ticks), ROWS), NAN)])
        found, grew = whole.update(fields, rows, values.copy())
        expected = np.stack([single.update(fields, rows, values[:, [at]])[0][:, 0] for at in range(len(ticks))], axis=1)
        np.testing.assert_array_equal(found, expected)
        assert grew is not None  # of the blank field
        whole.update(fields[:1], rows, np.full((1, 1, ROWS), 2.0**52))
        single.update(fields[:1], rows, np.full((1, 1, ROWS), 2.0**52))
        if restarts:
            whole.restart(rows[:2])
            single.restart(rows[:2])
        assert whole.save(ROWS) == single.save(ROWS)


@given(st.lists(st.lists(st.integers(0, 2**40), min_size=ROWS, max_size=ROWS), min_size=1, max_size=5))
def test_who_only_grew(ticks: list[list[int]]) -> None:
    counters = Counters(WATCHED, ROWS)
    update(counters, 0, [0, 1, 2], [5.0, 5.0, 5.0])
    increases, grew = counters.update(np.array([0]), np.arange(ROWS), np.array([ticks], "f8"))
    table = np.array([[5] * ROWS, *ticks])
    rose = (np.diff(table, axis=0) >= 0).all(axis=0)
    assert (np.ones(ROWS, bool) if grew is None else grew).tolist() == rose.tolist()
    assert increases[0, :, rose].sum() == (table[-1] - table[0])[rose].sum()


@given(st.lists(VALUES, max_size=20), st.lists(VALUES, max_size=20))
def test_a_checkpoint_in_between_changes_nothing(before: list[float], after: list[float]) -> None:
    counters = Counters(WATCHED, 4)
    for value in before:
        update(counters, 0, [2], [value])
    restored = Counters(WATCHED, 8)
    restored.load(3, counters.save(3))
    counters.grow(8)
    for value in after:
        one, other = (update(each, 0, [2], [value]) for each in (counters, restored))
        np.testing.assert_array_equal(one, other)
    assert restored.save(3) == counters.save(3)


# --- through the node stage --------------------------------------------------------------------------------------


def rate(log: Observations) -> float | None:
    """Correctable errors per hour as last heard."""
    return judge(log.tick(3595.0).tick(3601.0)).rates[-1].value


def counted(*counts: float | None) -> Observations:
    log = Observations()
    for at, count in enumerate(counts):
        log.frame("n1", 1.0 + at, {ECC_SBE_VOLATILE: count})
    return log


def test_what_was_there_at_first_sight_is_not_counted() -> None:
    assert rate(counted(5000, 5003)) == 3


def test_a_counter_that_falls_has_restarted() -> None:
    assert rate(counted(50, 53, 2, 4)) == 3 + 2 + 2


def test_blank_and_back_counts_what_happened_meanwhile() -> None:
    assert rate(counted(50, None, None, 57)) == 7


def test_what_no_counter_can_be_is_blank() -> None:
    assert rate(counted(50, -1, 52, math.inf, 55)) == 5
    assert rate(counted(50, 2.0**63, 55)) == 5  # DCGM's sentinel of a 64-bit integer


def test_counts_may_pass_what_is_no_value_elsewhere() -> None:
    assert rate(counted(2**31, 2**31 + 1)) == 1
    assert rate(counted(2**47 - 2, 2**47 + 5)) == 7


@pytest.mark.parametrize("sentinel", sorted(SMALL_BLANKS))
def test_a_sentinel_that_a_source_lets_through_is_blank_in_every_field(sentinel: float) -> None:
    steady = [id for id, field in FIELDS.items() if field.kind in (*GROWING, Kind.FLAG)]
    log = Observations()
    for at, value in enumerate((0, sentinel, sentinel, 0)):
        log.frame("n1", 1.0 + at, {GPU_TEMP: 40, **dict.fromkeys(steady, value)})
    said = judge(log.tick(6.0))
    assert {score.score for score in said.scores} == {1.0}
    assert {rate.value for rate in said.rates} <= {0.0, None}


def test_a_new_boot_restarts_the_count() -> None:
    """Without the word of the inventory an equal value would be no increase."""
    log = Observations().inventory("n1", 0.5, boot="a").frame("n1", 1.0, {ECC_SBE_VOLATILE: 5})
    assert rate(log.inventory("n1", 2.0, boot="a").frame("n1", 3.0, {ECC_SBE_VOLATILE: 5})) == 0
    log = Observations().inventory("n1", 0.5, boot="a").frame("n1", 1.0, {ECC_SBE_VOLATILE: 5})
    assert rate(log.inventory("n1", 2.0, boot="b").frame("n1", 3.0, {ECC_SBE_VOLATILE: 5})) == 5
    log = Observations().inventory("n1", 0.5, driver_load="a").frame("n1", 1.0, {ECC_SBE_VOLATILE: 5})
    assert rate(log.inventory("n1", 2.0, driver_load="b").frame("n1", 3.0, {ECC_SBE_VOLATILE: 5})) == 5


def test_frames_of_before_a_restart_may_come_behind_its_inventory() -> None:
    """Agents send faults and inventory at once, and telemetry every few seconds: nothing of it is counted twice."""
    before = [(6.0, 500), (7.0, 501)]
    log = Observations().inventory("n1", 0.5, boot="a").frame("n1", 1.0, {ECC_SBE_VOLATILE: 500})
    log.inventory("n1", 10.0, boot="b")
    for at, count in before:
        log.frame("n1", at, {ECC_SBE_VOLATILE: count}, append_s=12.0)
    for at, count in [(10.0, 501), (11.0, 503)]:  # as many as before, and all of them new
        log.frame("n1", at, {ECC_SBE_VOLATILE: count}, append_s=13.0)
    assert rate(log) == 1 + 501 + 2


@pytest.mark.parametrize(("after", "errors"), [((500, 0, 3), 3), ((500, 7, 9), 9), ((500, 500, 502), 2)])
def test_a_restart_within_a_frame_shows_where_a_count_falls(after: tuple[int, ...], errors: int) -> None:
    log = Observations().inventory("n1", 0.5, boot="a").frame("n1", 1.0, {ECC_SBE_VOLATILE: 500})
    log.inventory("n1", 10.0, boot="b")
    log.frame("n1", 11.0, {ECC_SBE_VOLATILE: after}, ticks_s=(9.0, 10.0, 11.0), append_s=12.0)
    assert rate(log.frame("n1", 12.0, {ECC_SBE_VOLATILE: after[-1]})) == errors
