from __future__ import annotations

from processors.testing import Observations, Said, judge
from schemas.fields import ECC_SBE_VOLATILE

MANY, WINDOW_S = 11, 3600


def counted(*samples: tuple[float, float | None]) -> Observations:
    log = Observations()
    for at_s, count in samples:
        log.frame("n1", at_s, {ECC_SBE_VOLATILE: count})
    return log


def levels(said: Said) -> list[str]:
    """One after the other; the heartbeat repeats them."""
    told = [rate.level for rate in said.rates if rate.signal == "correctable_ecc"]
    return [level for at, level in enumerate(told) if at == 0 or level != told[at - 1]]


def test_the_reason_in_words() -> None:
    (score,) = judge(counted((1, 0), (2, MANY)).tick(6.0)).scores
    (why,) = score.reasons
    assert (why.quantity, why.unit, why.value) == ("errors_per_hour", "errors/h", MANY)
    assert why.text == f"correctable ecc: {MANY} errors/h (warning limit {MANY - 1})"


def test_it_ends_with_the_window_and_the_rate_is_told_at_each_change() -> None:
    log = counted((1, 0), (2, MANY), (WINDOW_S - 5, MANY))
    assert levels(judge(log.tick(WINDOW_S + 0.0))) == ["fine", "warning"]
    log.frame("n1", WINDOW_S + 62.0, {ECC_SBE_VOLATILE: MANY}).tick(WINDOW_S + 70.0)
    said = judge(log)
    assert levels(said) == ["fine", "warning", "fine"]
    assert said.rates[-1].value == 0.0


def test_a_blank_is_no_opinion_and_forgets_nothing() -> None:
    log = counted((1, 0), (2, MANY - 1), (3, None), (4, MANY))
    said = judge(log.tick(10.0))
    assert levels(said) == ["fine", "none", "warning"]
    assert [rate.value for rate in said.rates] == [0.0, None, MANY]


def test_the_slow_heartbeat_repeats_what_is_not_zero() -> None:
    log = counted((1, 0), (898, MANY), (899, MANY))
    said = judge(log.tick(901.0).tick(906.0).tick(911.0))
    assert [(rate.level, rate.value) for rate in said.rates] == [("fine", 0.0), ("warning", MANY), ("warning", MANY)]
