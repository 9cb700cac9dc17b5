"""Answers to requests to check outputs again: handed on as they are; nothing else follows from them here."""

from __future__ import annotations

from typing import Any

import pytest

from processors.testing import Observations, gpu, judge, ms
from schemas import records, topics
from schemas.fields import GPU_TEMP
from schemas.records import encode

GPU = gpu("n1")


def answer(at_s: float, log: Observations, **changes: Any) -> Observations:
    """As those who check say it: without a number."""
    fields: dict[str, Any] = {"result": "corrupt", "checked": 5, "wrong": 1, "author": "ann", **changes}
    said = records.Revalidated(
        ts=ms(at_s), node="n1", uuid=GPU.uuid, bdf=GPU.bdf, detected=ms(1.0), end=ms(2.0), **fields
    )
    return log.add(at_s, "n1", "revalidated", encode(said))


def healthy() -> Observations:
    return Observations().frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)


def test_an_answer_reaches_those_who_ask_and_the_cluster_stage() -> None:
    said = judge(answer(10.0, healthy()))
    (told,) = said.of(topics.REVALIDATED)
    (handed_on,) = said.of(topics.FLEET_EVENTS, "revalidated")
    assert told == handed_on
    assert (told.result, told.wrong, told.author, told.end) == ("corrupt", 1, "ann", ms(2.0))
    (output,) = [each for each in said.outputs if each.topic == topics.REVALIDATED]
    assert output.key == GPU.uuid


def test_it_is_taken_of_a_node_that_was_never_heard_of() -> None:
    said = judge(answer(10.0, Observations()))
    assert len(list(said.of(topics.REVALIDATED))) == 1
    assert said.dead_letters == []


@pytest.mark.parametrize("changes", [{"result": "fine"}, {"wrong": 6}, {"result": "clean"}, {"wrong": 0}])
def test_what_cannot_be_meant_is_a_dead_letter(changes: dict[str, Any]) -> None:
    said = judge(answer(10.0, healthy(), **changes))
    assert len(said.dead_letters) == 1
    assert list(said.of(topics.REVALIDATED)) == []
    assert list(said.of(topics.FLEET_EVENTS, "revalidated")) == []


def test_a_silent_node_is_not_heard_of_by_an_answer_about_it() -> None:
    def conditions(answered: bool) -> list[tuple[int, str]]:
        log = healthy()
        for at_s in range(7, 120):
            if answered and at_s % 5 == 0:
                answer(float(at_s), log)
            log.tick(float(at_s))
        changes = judge(log).of(topics.FLEET_EVENTS, "condition")
        return [(change.ts, str(change.condition)) for change in changes]

    assert conditions(answered=True) == conditions(answered=False)
    assert conditions(answered=True)[-1][1] == "failed"
