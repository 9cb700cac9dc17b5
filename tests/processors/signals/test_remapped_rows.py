from __future__ import annotations

from processors.testing import Observations, judge
from schemas.fields import REMAPPED_UNCORRECTABLE


def test_five_hundred_and_twelve_warn() -> None:
    for rows, score in ((511, 1.0), (512, 0.7), (100_000, 0.7)):
        (found,) = judge(Observations().frame("n1", 1.0, {REMAPPED_UNCORRECTABLE: rows}).tick(6.0)).scores
        assert found.score == score


def test_a_blank_takes_nothing_back() -> None:
    log = Observations().frame("n1", 1.0, {REMAPPED_UNCORRECTABLE: 512}).tick(6.0)
    log.frame("n1", 7.0, {REMAPPED_UNCORRECTABLE: None}).tick(12.0)
    assert judge(log).latest.popitem()[1].score == 0.7
