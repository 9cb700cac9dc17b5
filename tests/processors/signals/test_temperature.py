from __future__ import annotations

from processors.testing import Observations, judge
from schemas.fields import GPU_TEMP, GPU_TEMP_MARGIN


def test_the_reason_in_words() -> None:
    (score,) = judge(Observations().frame("n1", 1.0, {GPU_TEMP: 85.5}).tick(6.0)).scores
    (why,) = score.reasons
    assert (why.text, why.quantity, why.unit) == ("temperature: 85.5 C (critical limit 85)", "temperature_c", "C")


def test_it_takes_over_when_the_margin_goes_blank_and_hands_back() -> None:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 86, GPU_TEMP_MARGIN: 20}).tick(6.0)
    log.frame("n1", 7.0, {GPU_TEMP: 86, GPU_TEMP_MARGIN: None})
    log.frame("n1", 8.0, {GPU_TEMP: 86, GPU_TEMP_MARGIN: 20})
    assert [score.score for score in judge(log).scores] == [1.0, 0.4, 1.0]


def test_evidence_is_that_of_the_tick_where_the_class_changed() -> None:
    ticks = [1.0, 2.0, 3.0, 4.0]
    log = Observations().frame("n1", 4.0, {GPU_TEMP: [50, 82, 84, 83]}, ticks_s=ticks, gpus=1).tick(6.0)
    (score,) = judge(log).scores
    assert (score.reasons[0].value, score.reasons[0].since % 10_000) == (82.0, 2000)
