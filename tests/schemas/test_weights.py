"""The weight that a score stands for (specification, section 11)."""

from __future__ import annotations

import math

import pytest

from processors.cluster_policy import Policy
from schemas.weights import weight_of_score

SECTION_11 = [(0.0, 0.0), (0.3, 0.0), (0.3001, 0.3001), (0.5, 0.5), (0.7, 0.7), (0.7001, 1.0), (1.0, 1.0)]


@pytest.mark.parametrize(("score", "weight"), SECTION_11)
def test_weights_by_the_specification(score, weight):
    assert weight_of_score(score) == weight
    assert Policy().weight(score) == weight


def test_limits_can_be_chosen():
    assert [weight_of_score(score, zero_at=0.5, full_above=0.9) for score in (0.5, 0.6, 0.9, 0.91)] == [0, 0.6, 0.9, 1]


def test_what_is_no_score_gets_no_traffic():
    assert weight_of_score(math.nan) == 0.0
