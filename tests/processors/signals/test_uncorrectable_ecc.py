from __future__ import annotations

from pipeline.policies import load
from processors.testing import Observations, Said, judge
from schemas.fields import ECC_DBE_VOLATILE


def counted(*counts: float | None) -> Observations:
    log = Observations()
    for at, count in enumerate(counts):
        log.frame("n1", 1.0 + at, {ECC_DBE_VOLATILE: count})
    return log


def caps(said: Said) -> list[float]:
    return [score.score for score in said.scores]


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
