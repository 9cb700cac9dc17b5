from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policies import load
from processors.kit import check_signal
from processors.signals.uncorrectable_ecc import UncorrectableEcc
from processors.testing import Observations, Said, judge
from schemas.fields import ECC_DBE_AGGREGATE, ECC_DBE_VOLATILE, GPU_TEMP


def counted(*counts: float | None) -> Observations:
    log = Observations()
    for at, count in enumerate(counts):
        log.frame("n1", 1.0 + at, {ECC_DBE_VOLATILE: count})
    return log


def caps(said: Said) -> list[float]:
    return [score.score for score in said.scores]


def test_it_keeps_the_contract_of_signals() -> None:
    check_signal(UncorrectableEcc)


def test_what_is_there_at_first_sight_counts() -> None:
    assert caps(judge(counted(2).tick(6.0))) == [0.1]


def test_errors_before_and_after_a_restart_add_up() -> None:
    assert caps(judge(counted(1, 0, 1, 0, 1).tick(10.0))) == [0.1, 0.0]


def test_a_blank_neither_hides_nor_adds() -> None:
    (score,) = judge(counted(2, None, 2, None).tick(10.0)).latest.values()
    assert (score.score, score.reasons[0].value) == (0.1, 2.0)


def test_the_first_value_behind_blanks_counts() -> None:
    assert caps(judge(counted(None, None, 3).tick(10.0))) == [0.0]


def test_corruption_is_told() -> None:
    assert [change.corruption for change in judge(counted(1)).conditions] == [True]


def test_both_readings_are_kept_whatever_the_policy() -> None:
    """A restart under `spec` puts the level back; `default` then still knows of the errors before it."""
    log = Observations().policy(0.0, load("spec"))
    for at, count in enumerate([2, 0, 1]):
        log.frame("n1", 1.0 + at, {ECC_DBE_VOLATILE: count})
    assert judge(log.tick(10.0)).latest.popitem()[1].score == 0.1
    log.policy(11.0, load("default"))
    (score,) = judge(log).latest.values()
    assert (score.score, score.reasons[0].value) == (0.0, 3.0)
    (score,) = judge(log.policy(12.0, load("spec"))).latest.values()
    assert (score.score, score.reasons[0].value) == (0.1, 1.0)


def test_an_operators_word_starts_the_count_again() -> None:
    log = counted(2).tick(6.0).restore("n1", 7.0)
    log.frame("n1", 8.0, {ECC_DBE_VOLATILE: 3}).tick(15.0)
    (score,) = judge(log).latest.values()
    assert score.reasons[0].value == 1.0


# --- the aggregate counter, which survives what sets the volatile one back -----------------------------------------

VOLATILE, AGGREGATE = ECC_DBE_VOLATILE, ECC_DBE_AGGREGATE

# Samples of (volatile, aggregate), one a second; how many errors that makes, None: nothing can be told.
HISTORIES: list[tuple[str, list[tuple[float | None, float | None]], float | None]] = [
    ("blank", [(None, None)], None),
    ("history alone is no evidence", [(0, 7)], 0),
    ("nor where the volatile one is never told", [(None, 7), (None, 7)], 0),
    ("it grows where the volatile one is never told", [(None, 7), (None, 8)], 1),
    ("both tell the same error", [(0, 7), (1, 8)], 1),
    ("one a second before the other", [(0, 7), (1, 7), (1, 8)], 1),
    ("the other a second before the one", [(0, 7), (0, 8), (1, 8)], 1),
    ("one at first sight is among the aggregate", [(1, 7), (1, 7)], 1),
    ("errors at first sight and after", [(1, 7), (2, 8)], 2),
    ("a restart in between loses the volatile count", [(1, 7), (0, 8)], 2),
    ("a restart that loses nothing", [(1, 7), (0, 7)], 1),
    ("errors before and after a restart", [(1, 7), (0, 7), (1, 8)], 2),
    ("the aggregate is told later", [(1, None), (1, 7), (1, 7)], 1),
    ("and grows then", [(1, None), (1, 7), (1, 8)], 2),
    ("blanks between", [(0, 7), (None, None), (0, 8)], 1),
    ("an InfoROM that is written anew is no error", [(0, 7), (0, 0), (0, 0)], 0),
    ("nor does it hide any", [(1, 7), (1, 0), (1, 0)], 1),
    ("errors after that count", [(1, 7), (1, 0), (2, 1)], 2),
]


@pytest.mark.parametrize(("what", "samples", "errors"), HISTORIES, ids=[history[0] for history in HISTORIES])
def test_no_error_is_missed_and_none_counts_twice(what: str, samples: Any, errors: float | None) -> None:
    log = Observations()
    for at, (volatile, aggregate) in enumerate(samples):
        log.frame("n1", 1.0 + at, {GPU_TEMP: 50, VOLATILE: volatile, AGGREGATE: aggregate})
    (score,) = judge(log.tick(30.0)).latest.values()
    found = [why.value for why in score.reasons if why.signal == "uncorrectable_ecc"]
    assert found == ([] if not errors else [1.0] if errors < 3 else [errors])
    assert score.score == (1.0 if not errors else 0.1)


def test_an_error_that_an_operator_has_put_away_does_not_come_back_by_the_other_counter() -> None:
    log = Observations().frame("n1", 1.0, {VOLATILE: 0, AGGREGATE: 7}).frame("n1", 2.0, {VOLATILE: 1, AGGREGATE: 7})
    log.restore("n1", 3.0).frame("n1", 4.0, {VOLATILE: 1, AGGREGATE: 8}).tick(10.0)
    assert judge(log).latest.popitem()[1].score == 1.0
    log.frame("n1", 11.0, {VOLATILE: 1, AGGREGATE: 9})
    assert judge(log).latest.popitem()[1].score == 0.1


def test_the_specification_counts_the_volatile_one_alone() -> None:
    log = Observations().policy(0.0, load("spec"))
    log.frame("n1", 1.0, {VOLATILE: 0, AGGREGATE: 7}).frame("n1", 2.0, {VOLATILE: 0, AGGREGATE: 9}).tick(10.0)
    assert judge(log).latest.popitem()[1].score == 1.0


@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0, 1, 2, 5]), st.sampled_from([None, 0, 1, 3, 9])), min_size=1, max_size=8
    )
)
def test_whatever_the_counters_do_the_cap_never_rises(samples: list[tuple[float | None, float | None]]) -> None:
    log = Observations()
    for at, (volatile, aggregate) in enumerate(samples):
        log.frame("n1", 1.0 + at, {VOLATILE: volatile, AGGREGATE: aggregate})
    found = caps(judge(log))
    assert found == sorted(found, reverse=True)
