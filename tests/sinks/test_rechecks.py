"""Which requests to check outputs again are open: the newest request and answer of each episode count."""

from __future__ import annotations

import itertools

import pytest

from schemas import records, topics
from schemas.log import Record
from schemas.revalidations import fault
from sinks.rechecks import KEPT_MS, Rechecks

T = 1_767_603_600_000


def asked(end=10, detected=5, key="GPU-1", ts=T):
    said = records.Revalidation(
        ts=ts, cluster="c", node="n1", uuid=key, start=0, end=end, detected=detected, since="", confidence="suspected"
    )
    return topics.REVALIDATIONS, Record(0, ts, key, "revalidation", records.encode(said))


def answered(result="clean", end=10, detected=5, key="GPU-1"):
    wrong = int(result == "corrupt")
    said = records.Revalidated(
        ts=T, node="n1", uuid=key, detected=detected, end=end, result=result, checked=wrong, wrong=wrong
    )
    return topics.REVALIDATED, Record(0, T, key, "revalidated", records.encode(said))


def states(*said):
    found = Rechecks()
    for topic, record in said:
        found.take(topic, record)
    return [(each.key, each.asked.end, each.state) for each in found.all()]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([asked()], "open"),
        ([asked(), answered()], "clean"),
        ([asked(), answered(), answered("corrupt")], "corrupt"),
        ([asked(), answered(), answered()], "clean"),
        ([asked(), answered(detected=4)], "open"),
        ([asked(), answered(key="GPU-2")], "open"),
        ([asked(), answered(end=9)], "open"),  # there was more evidence since
        ([asked(), answered(end=11)], "clean"),
    ],
)
def test_a_request_is_open_until_its_newest_evidence_is_answered(said, expected):
    ((_, _, state),) = states(*said)
    assert state == expected


def test_of_an_episode_the_newest_request_counts():
    assert states(asked(), answered(), asked(end=20)) == [("GPU-1", 20, "open")]
    assert states(asked(), asked(end=20), answered(end=20)) == [("GPU-1", 20, "clean")]


def test_it_does_not_matter_which_topic_is_read_first():
    said = [asked(), asked(detected=7, end=8), answered(), answered("corrupt", detected=7, end=8)]
    by_topic = [[each for each in said if each[0] == topic] for topic in (topics.REVALIDATIONS, topics.REVALIDATED)]
    first, second = by_topic
    assert states(*first, *second) == states(*second, *first)
    assert len({tuple(states(*order)) for order in itertools.permutations(said)}) == 1


def test_what_the_topic_does_not_keep_any_more_is_forgotten():
    assert [key for key, _, _ in states(asked(), asked(key="GPU-2", ts=T + KEPT_MS + 1))] == ["GPU-2"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"result": "unknown"}, ""),
        ({"result": "corrupt", "checked": 5, "wrong": 5}, ""),
        ({"result": "fine"}, "result 'fine' is none of clean, corrupt, unknown"),
        ({"uuid": ""}, "an answer needs the uuid or the bdf of its GPU, as the request has them"),
        ({"result": "corrupt", "checked": 5, "wrong": 6}, "6 wrong of 5 checked outputs"),
        ({"checked": -1, "wrong": -1}, "-1 wrong of -1 checked outputs"),
        ({"result": "clean", "checked": 5, "wrong": 1}, "result clean with 1 wrong outputs"),
        ({"result": "corrupt", "checked": 5}, "result corrupt with 0 wrong outputs"),
    ],
)
def test_what_an_answer_may_say(changes, why):
    said = {"ts": T, "node": "n1", "uuid": "GPU-1", "detected": 5, "end": 10, "result": "clean", **changes}
    assert fault(records.Revalidated(**said)) == why
