from __future__ import annotations

from processors.testing import Observations, Said, judge
from schemas.fields import GPU_TEMP
from schemas.records import Score


def only(said: Said) -> Score:
    (score,) = said.latest.values()
    return score


def test_eleven_events_evict_and_leave_with_their_window() -> None:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50})
    for number in range(11):
        log.frame("n1", 10.0 + 60 * number, {GPU_TEMP: 50}).fault("n1", 11.0 + 60 * number, 94)
    assert (only(judge(log)).score, only(judge(log)).reasons[0].value) == (0.0, 11.0)
    for minute in range(12, 80):
        log.frame("n1", 60.0 * minute, {GPU_TEMP: 50})
    assert (only(judge(log)).score, only(judge(log)).held) == (1.0, 1.0)


def test_repeats_within_the_coalescing_time_are_one_event() -> None:
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50})
    for number in range(100):
        log.fault("n1", 10.0 + 0.4 * number, 94)
    assert only(judge(log.tick(60.0))).score == 1.0


def test_windows_go_on_where_only_the_kernel_log_is_read() -> None:
    """Nobody tells the node's time but the faults themselves: the stream clock stands in."""
    log = Observations()
    for number in range(10):
        log.fault("n1", 10.0 + 6 * number, 94)
    log.ticks(3700.0, 3720.0).fault("n1", 3730.0, 94)
    rates = [rate.value for rate in judge(log.tick(3740.0)).rates if rate.signal == "xid_rate"]
    assert 11.0 not in rates
    assert "xid_rate" not in {why.signal for score in judge(log).scores for why in score.reasons}
