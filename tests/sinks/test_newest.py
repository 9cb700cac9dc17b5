"""No weight travels back in time, in whatever order decisions are delivered."""

from __future__ import annotations

import itertools

import pytest

from schemas.log import Origin, Record
from sinks.newest import Newest


def record(offset, origin=None, key="GPU-a"):
    return Record(offset, 1, key, "decision", b"x", origin)


def said(cause, ordinal=0, generation=0, stage="cluster", partition=0):
    return Origin(stage, partition, cause, ordinal, generation)


def taken(*records):
    """The offsets of those that were news, one after the other."""
    newest, offsets = Newest(), []
    for one in records:
        if newest.is_news(one):
            newest.add(one)
            offsets.append(one.offset)
    return offsets


def test_a_double_is_no_news():
    assert taken(record(1, said(5)), record(1, said(5))) == [1]


def test_the_same_decision_appended_twice_is_no_news_though_its_offset_is_new():
    assert taken(record(1, said(5)), record(2, said(5))) == [1]


@pytest.mark.parametrize(
    ("older", "newer"), [(said(5), said(6)), (said(5, 0), said(5, 1)), (said(900, 3), said(0, 0, generation=1))]
)
def test_an_older_origin_is_no_news_behind_a_newer_one(older, newer):
    assert taken(record(1, newer), record(2, older)) == [1]
    assert taken(record(1, older), record(2, newer)) == [1, 2]


def test_each_gpu_has_its_own_time():
    assert taken(record(1, said(9)), record(2, said(5), "GPU-b")) == [1, 2]


def test_in_every_order_of_delivery_the_newest_stays():
    for order in itertools.permutations([record(cause, said(cause)) for cause in range(4)]):
        assert taken(*order)[-1] == 3


@pytest.mark.parametrize("other", [None, said(1, stage="other"), said(1, partition=1)])
def test_where_origins_cannot_be_compared_the_order_of_the_log_stands(other):
    assert taken(record(1, said(9)), record(2, other)) == [1, 2]
    assert taken(record(2, said(9)), record(1, other)) == [2]
