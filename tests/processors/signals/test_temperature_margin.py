from __future__ import annotations

import pytest

from processors.testing import Observations, judge
from schemas.fields import GPU_TEMP, GPU_TEMP_MARGIN


@pytest.mark.parametrize(
    ("margin", "level"), [(5.5, ""), (5.0, "warning"), (0.5, "warning"), (0.0, "critical"), (-9.0, "critical")]
)
def test_limits_fall_and_are_inclusive(margin: float, level: str) -> None:
    (score,) = judge(Observations().frame("n1", 1.0, {GPU_TEMP_MARGIN: margin, GPU_TEMP: 50}).tick(6.0)).scores
    assert [why.level for why in score.reasons] == [level] * bool(level)
