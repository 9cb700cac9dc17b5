"""What `gpu-vitals cases` says of budgets."""

from __future__ import annotations

import pytest

from pipeline.operators.cases import Cases, table
from schemas.records import Brakes, BudgetUse


@pytest.mark.parametrize(
    ("used", "limit", "said", "explained"),
    [
        (6, 6, "out 6 of 6", False),
        (19, 6, "out 19 (budget 6)", True),
        (19, None, "out 19", False),
    ],
)
def test_more_out_than_the_budget_is_explained(used: int, limit: int | None, said: str, explained: bool) -> None:
    """Hard faults go out whatever it says."""
    brakes = Brakes(
        ts=1,
        cluster="c1",
        budgets=[BudgetUse(name="out", used=used, limit=limit), BudgetUse(name="steps", used=0, limit=8)],
        policy="p",
    )
    lines = list(table(Cases(gpus=[], brakes=[brakes])))
    assert lines[0] == f"cluster c1: {said}, steps 0 of 8"
    assert any("hard faults" in line and "go out regardless" in line for line in lines) == explained
