from __future__ import annotations

import pytest

from processors.testing import Observations, judge
from schemas.fields import RETIRED_DBE, RETIRED_SBE


@pytest.mark.parametrize(
    ("single", "double", "pages"),
    [(11, None, 11.0), (None, 11, 11.0), (6, 5, 11.0), (None, None, None), (10, None, None)],
)
def test_one_kind_is_enough(single: float | None, double: float | None, pages: float | None) -> None:
    """Ampere and later know neither: no opinion."""
    log = Observations().frame("n1", 1.0, {RETIRED_SBE: single, RETIRED_DBE: double}).tick(6.0)
    (score,) = judge(log).scores
    assert [why.value for why in score.reasons if why.signal == "retired_pages"] == [pages] * (pages is not None)


def test_kinds_that_come_in_different_frames_add_up() -> None:
    log = Observations().frame("n1", 1.0, {RETIRED_SBE: 20}).frame("n1", 2.0, {RETIRED_DBE: 21}).tick(6.0)
    (score,) = judge(log).latest.values()
    assert (score.score, score.reasons[0].value) == (0.3, 41.0)


def test_a_blank_takes_nothing_back() -> None:
    log = Observations().frame("n1", 1.0, {RETIRED_SBE: 31, RETIRED_DBE: 30}).tick(6.0)
    log.frame("n1", 7.0, {RETIRED_SBE: None, RETIRED_DBE: 30}).frame("n1", 8.0, {RETIRED_DBE: None}).tick(12.0)
    assert judge(log).latest.popitem()[1].score == 0.0
