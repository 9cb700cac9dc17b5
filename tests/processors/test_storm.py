"""Storms: when they begin, that they end by themselves or by a word, and that a restart does not show."""

from __future__ import annotations

import pytest

from processors.brake_policy import StormPolicy
from processors.storm import Storm

POLICY = StormPolicy(gpus_min=4, gpus_max=10, gpus_share=0.1, window_s=60.0, unknown_share=0.5, quiet_s=100.0)


def wanted(count: int, known: int, unknown: int = 0, policy: StormPolicy = POLICY) -> Storm:
    storm = Storm(policy)
    for number in range(count):
        storm.want(f"G{number}", 1000)
    storm.look(1000, known, unknown)
    return storm


@pytest.mark.parametrize(
    ("count", "known", "unknown", "active"),
    [
        (3, 4, 0, False),
        (4, 4, 0, True),
        (4, 49, 0, True),
        (4, 50, 0, False),
        (5, 50, 0, True),
        (9, 1000, 0, False),
        (10, 1000, 0, True),
        (0, 6, 3, False),
        (0, 6, 4, True),
        (0, 100, 49, False),
        (0, 100, 50, True),
    ],
)
def test_the_smaller_of_count_and_share_counts_but_few_gpus_are_no_storm(
    count: int, known: int, unknown: int, active: bool
) -> None:
    assert wanted(count, known, unknown).active is active


def test_switched_off_it_never_begins() -> None:
    assert not wanted(100, 100, 100, StormPolicy(enabled=False)).active


def test_a_gpu_that_is_wanted_again_and_again_counts_once() -> None:
    storm = Storm(POLICY)
    for at in range(10):
        storm.want("G", at)
        assert storm.look(at, 4, 0) == ""


def test_what_lies_further_apart_than_the_window_is_no_storm() -> None:
    storm = Storm(POLICY)
    for number in range(20):
        storm.want(f"G{number}", number * 20_000)
        assert storm.look(number * 20_000, 4, 0) == ""


def test_it_says_once_that_it_begins_and_once_that_it_is_over() -> None:
    storm = wanted(3, 4)
    storm.want("more", 2000)
    said = [storm.look(at, 4, 0) for at in range(2000, 400_000, 1000)]
    assert [each for each in said if each] == [
        "storm: 4 of 4 GPUs to be taken out within 60 s",
        "storm is over: quiet for 100 s",
    ]
    over_s = said.index("storm is over: quiet for 100 s") + 2
    assert over_s == 60 + 100, "too much until the window has passed the first ones, then quiet"


def test_an_operator_ends_it_and_it_does_not_begin_again_at_once() -> None:
    storm = wanted(0, 10, 9)
    assert storm.release(2000, "ann") == "storm is released by ann"
    assert [storm.look(at, 10, 9) for at in (2000, 101_999)] == ["", ""]
    assert storm.look(102_000, 10, 9) == "storm: nothing is known any more of 9 of 10 GPUs"


def test_there_is_nothing_to_release_without_one() -> None:
    assert Storm(POLICY).release(1000, "ann") == ""


def test_a_restart_does_not_show() -> None:
    storm = wanted(4, 4)
    other = Storm(POLICY, storm.save())
    for at in range(2000, 300_000, 500):
        assert other.look(at, 4, 0) == storm.look(at, 4, 0)
        assert other.save() == storm.save()
