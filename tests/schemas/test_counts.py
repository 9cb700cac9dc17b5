"""Counts as people read them."""

from __future__ import annotations

import pytest

from schemas.counts import counted


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(0, "GPU"), "0 GPUs"),
        (counted(1, "GPU"), "1 GPU"),
        (counted(12_345, "record"), "12345 records"),
        (counted(1, "try", "tries"), "1 try"),
        (counted(2, "line is", "lines are"), "2 lines are"),
    ],
)
def test_a_count_agrees_with_its_noun(said: str, expected: str) -> None:
    assert said == expected
