"""Planned work: what an operator announces drains without alarm, and comes back by itself."""

from __future__ import annotations

from itertools import groupby

import pytest

from processors.testing import Observations, decide, gpu, judge
from schemas import records
from schemas.fields import GPU_TEMP, MEM_CLOCK
from schemas.states import Action, Condition
from tests.processors.node_stories import GPU0, LAST, alive, begin, found, word


def test_planned_work_drains_and_gives_back_without_an_operator() -> None:
    log = begin()
    word(log, LAST, "maintenance", 100)
    alive(log, LAST + 1, 30)
    alive(log.ticks(31, 95), 96, 500)
    decided = decide(judge(log))
    weights = [decision.weight for decision in decided.decisions if decision.uuid == GPU0]
    assert [weight for weight, _ in groupby(weights)] == [1.0, 0.0, 1.0]
    told = [eviction for eviction in decided.evictions if eviction.uuid == GPU0]
    assert {(one.action, one.fault) for one in told} == {(Action.DRAIN, "maintenance")}
    assert told[-1].detail == "planned work is over"


def test_planned_work_can_end_early_and_concern_one_gpu() -> None:
    log = begin()
    word(log, LAST, "maintenance", 3600, GPU0)
    alive(log, LAST + 1, 60)
    word(log, 60, "end-maintenance", uuid=GPU0)
    alive(log, 61, 400)
    assert found(log)["maintenance", "evict"] <= 5
    assert judge(log).latest[GPU0].condition is Condition.HEALTHY
    assert not [what for what in found(log, gpu("n1", 1).uuid) if what[0]]


def test_the_budget_does_not_hold_back_planned_work() -> None:
    log = Observations().inventory("n1", 0, 8)
    alive(log, 1, LAST, 8)
    word(log, LAST, "maintenance", 500)
    alive(log, LAST + 1, 60, 8)
    newest = {decision.uuid: decision for decision in decide(judge(log)).decisions}
    assert {(decision.weight, decision.held_by) for decision in newest.values()} == {(0.0, "")}


def test_work_can_be_announced_for_longer() -> None:
    log = begin()
    word(log, LAST, "maintenance", 100)
    log.ticks(LAST + 1, 90)
    word(log, 90, "maintenance", 1000)
    log.ticks(91, 600)
    assert ("maintenance_overrun", "evict") not in found(log)
    texts = [why.text for score in judge(log).scores for why in score.reasons if why.signal == "maintenance"]
    assert len(set(texts)) == 2


def test_another_gpu_in_a_slot_under_work_gets_no_traffic_before_its_time() -> None:
    log = begin()
    word(log, LAST, "maintenance", 300)
    other = records.Gpu(uuid="GPU-new", bdf=gpu("n1", 0).bdf)
    for second in range(LAST + 1, 100):
        log.frame("n1", second, {GPU_TEMP: 50, MEM_CLOCK: 1500}, gpus=[other, gpu("n1", 1)])
    assert judge(log).latest["GPU-new"].score == 0.0


def test_a_time_that_is_past_is_refused() -> None:
    word(log := begin(), LAST, "maintenance", 10)
    [letter] = judge(log.tick(LAST + 1)).dead_letters
    assert "is past" in letter.why


@pytest.mark.parametrize("action", ["maintenance", "end-maintenance"])
def test_a_word_on_a_gpu_that_nobody_knows_is_refused(action: str) -> None:
    word(log := begin(), LAST, action, 500, "GPU-typo")
    [letter] = judge(log.tick(LAST + 1)).dead_letters
    assert letter.why == f"{action} of what is not known: n1 GPU-typo"


def test_a_gpu_that_failed_before_is_not_given_back_with_the_work() -> None:
    log = begin().fault("n1", LAST, 48)
    word(log, LAST + 1, "maintenance", 100)
    alive(log, LAST + 2, 500)
    newest = {decision.uuid: decision for decision in decide(judge(log)).decisions}
    assert newest[GPU0].weight == 0.0
    assert newest[gpu("n1", 1).uuid].weight == 1.0


def test_a_gpu_that_fails_during_the_work_waits_for_an_operator() -> None:
    log = begin()
    word(log, LAST, "maintenance", 100)
    alive(log, LAST + 1, 60)
    log.fault("n1", 61, 46)
    alive(log, 62, 500)
    newest = {decision.uuid: decision for decision in decide(judge(log.restore("n1", 501, 1))).decisions}
    assert newest[GPU0].weight == 0.0
    assert newest[gpu("n1", 1).uuid].weight == 1.0
