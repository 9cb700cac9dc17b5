from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.spool.news import News
from schemas import frames
from schemas.fields import ECC_DBE_VOLATILE, ECC_SBE_VOLATILE, GPU_TEMP, POWER_VIOLATION
from schemas.records import Gpu

GPUS = [Gpu(uuid="GPU-a"), Gpu(bdf="0000:1b:00")]


def frame(columns: dict[int, Sequence[float | None]], gpus: Sequence[Gpu] = GPUS, node: str = "n1") -> bytes:
    ticks = max(len(column) for column in columns.values()) // len(gpus)
    return frames.encode(
        frames.build(node=node, seq=0, gpus=gpus, ticks=[1000 * at for at in range(ticks)], columns=columns)
    )


QUIET = frame({ECC_SBE_VOLATILE: [5, 0], ECC_DBE_VOLATILE: [0, 0], POWER_VIOLATION: [1, 1], GPU_TEMP: [50, 50]})


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({ECC_SBE_VOLATILE: [5, 0], ECC_DBE_VOLATILE: [0, 0]}, False),
        ({ECC_SBE_VOLATILE: [5, 1], ECC_DBE_VOLATILE: [0, 0]}, True),
        ({ECC_SBE_VOLATILE: [5, None], ECC_DBE_VOLATILE: [0, 0]}, True),
        ({ECC_DBE_VOLATILE: [0, 0]}, False),
        ({ECC_SBE_VOLATILE: [5, 0, 6, 0], ECC_DBE_VOLATILE: [0, 0, 0, 0]}, True),
        ({POWER_VIOLATION: [2, 2], GPU_TEMP: [90, 90]}, False),
        ({POWER_VIOLATION: [1, 1, 2, 2], ECC_SBE_VOLATILE: [5, 0]}, False),
    ],
    ids=["the same", "a counter", "a blank", "fewer fields", "in its midst", "under load", "under load in its midst"],
)
def test_a_counter_or_flag_of_faults_that_is_another_is_news(columns, told) -> None:
    news = News()
    assert not news.told(QUIET), "the first one of a node"
    assert news.told(frame(columns)) is told


def test_what_a_frame_has_told_is_none_in_the_next() -> None:
    news = News()
    news.told(QUIET)
    assert news.told(frame({ECC_SBE_VOLATILE: [5, 0, 6, 0]}))
    assert not news.told(frame({ECC_SBE_VOLATILE: [6, 0]}))


def test_blanks_that_stay_blank_are_none() -> None:
    news = News()
    news.told(frame({ECC_SBE_VOLATILE: [None, None]}))
    assert not news.told(frame({ECC_SBE_VOLATILE: [None, None]}))


def test_each_node_has_news_of_its_own() -> None:
    news = News()
    news.told(QUIET)
    assert not news.told(frame({ECC_SBE_VOLATILE: [9, 9]}, node="n2"))


def test_gpus_that_change_places_are_none() -> None:
    news = News()
    news.told(frame({ECC_SBE_VOLATILE: [5, 0]}))
    assert not news.told(frame({ECC_SBE_VOLATILE: [0, 5]}, gpus=GPUS[::-1]))


def test_what_is_no_frame_tells_nothing() -> None:
    assert not News().told(b"\xff\x00")
