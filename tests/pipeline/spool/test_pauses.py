"""12,500 agents lose their broker for an hour: what arrives when it is back, second by second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from pipeline.spool.pauses import CAP_S, CATCH_UP_BYTES_S, START_S, CatchUp, Pauses

AGENTS = 12_500
AWAY_S = 3_600.0
NODE_BYTES_S = 800.0  # what 8 GPUs say
PEAK_PER_S = 4 * AGENTS / CAP_S  # four times an even spread: the first second has twice that, by its nature
SILENT_S = 60.0  # after that long a node is taken for dead


def arrivals(pauses: Callable[[], Callable[[], float]]) -> list[float]:
    """When each agent comes back, in seconds after the broker has. pauses: gives an agent's own."""
    found = []
    for _ in range(AGENTS):
        pause, at = pauses(), 0.0
        while at < AWAY_S:
            at += pause()
        found.append(at - AWAY_S)
    return found


def peak(found: list[float]) -> int:
    return max(Counter(int(at) for at in found).values())


def test_after_an_outage_of_an_hour_agents_come_back_spread_out() -> None:
    random = Random(1)
    found = arrivals(lambda: Pauses(random).next_s)
    assert peak(found) < PEAK_PER_S
    assert max(found) < SILENT_S


def test_a_fixed_schedule_would_bring_them_all_at_once() -> None:
    def fixed() -> Callable[[], float]:
        waits = iter([0.5 * 2**number for number in range(5)])
        return lambda: next(waits, 15.0)

    assert peak(arrivals(fixed)) > PEAK_PER_S


def test_already_the_first_tries_are_spread() -> None:
    random = Random(1)
    first = Counter(int(100 * Pauses(random).next_s()) for _ in range(AGENTS))
    assert len(first) == 100
    assert max(first.values()) < 2 * AGENTS / 100


def test_agents_that_are_started_at_one_moment_with_a_backlog_do_not_begin_at_one() -> None:
    random = Random(1)
    assert peak([Pauses(random).start_s() for _ in range(AGENTS)]) < 2 * AGENTS / START_S


def test_pauses_grow_while_it_fails_and_are_short_again_after_it_worked() -> None:
    pauses = Pauses(Random(1))
    assert all(pauses.next_s() <= min(2**number, CAP_S) for number in range(50))
    assert max(pauses.next_s() for _ in range(50)) > CAP_S / 2
    pauses.over()
    assert pauses.next_s() <= 1.0


def test_six_hours_of_a_node_are_caught_up_at_a_bounded_pace() -> None:
    catch_up = CatchUp(0.0)
    appended, at, left, sent = 0, 0.0, 6 * 3_600 * NODE_BYTES_S, 0
    while left > 0:
        sent += 65_536
        pause = catch_up.pause_s(65_536)
        at += pause
        appended += int(NODE_BYTES_S * pause)
        catch_up.grown(appended, at)
        left += NODE_BYTES_S * pause - 65_536
        assert sent <= CATCH_UP_BYTES_S * at + 1
    assert at < 1_800, "half an hour later all is as it was"


def test_whoever_says_more_may_send_more() -> None:
    catch_up = CatchUp(0.0)
    for second in range(1, 100):
        catch_up.grown(1_000_000 * second, float(second))
    assert 65_536 / catch_up.pause_s(65_536) > 3_900_000
