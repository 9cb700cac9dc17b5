"""What one job does to several GPUs at a time is the job's fault: one incident, and nobody is evicted for it."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.kits import check_cuts
from pipeline.policies import load
from processors.node import NodeTask
from processors.policy import from_document
from processors.testing import Observations, Said, decide, gpu, judge, ms
from schemas.fields import GPU_TEMP
from schemas.states import Action, Condition, Family


def node(gpus: int = 4) -> Observations:
    log = Observations()
    for second in range(1, 7):
        log.frame("n1", second, {GPU_TEMP: [50] * gpus})
    return log


def hits(log: Observations, *hits: tuple[float, int, int], **more: Any) -> Observations:
    """(second, code, GPU)."""
    for at_s, code, of in hits:
        log.fault("n1", at_s, code, of, **more)
    return log


def weights(said: Said) -> dict[int, float]:
    """Of each GPU, as it would be without budgets."""
    slots = {gpu("n1", at).bdf: at for at in range(8)}
    return {slots[each.bdf]: each.held for each in sorted(said.latest.values(), key=lambda each: each.bdf)}


@pytest.mark.parametrize("code", [13, 31, 43, 45, 68, 69, 109])
def test_a_job_on_several_gpus_evicts_none_and_is_one_incident(code: int) -> None:
    said = judge(hits(node(), (10, code, 0), (12, code, 1), (14, code, 3), pid=77, process="python3"))
    (incident,) = [each for each in said.latest_incidents.values() if not each.into]
    assert (incident.family, incident.root, incident.action) == (Family.APPLICATION, f"xid_{code}", Action.NONE)
    assert incident.gpus == [gpu("n1", at) for at in (0, 1, 3)]
    assert "python" in incident.text
    assert weights(said) == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}
    assert {score.condition for score in said.latest.values()} == {Condition.HEALTHY}


def test_whoever_was_evicted_before_the_second_was_hit_is_back_at_once() -> None:
    log = hits(node(), (10, 31, 0), pid=77)
    assert weights(judge(log))[0] == 0.0
    assert decide(judge(log)).evictions[-1].state.value == "draining"
    said = judge(hits(log, (39, 31, 1), pid=77))
    assert weights(said) == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}
    assert decide(said).evictions[-1].state.value == "in-service"


@pytest.mark.parametrize(
    ("name", "first", "second", "shared"),
    [
        ("one process", {"pid": 5}, {"pid": 5}, True),
        ("two processes", {"pid": 5}, {"pid": 6}, False),
        ("ranks of one job", {"pid": 5, "process": "python3"}, {"pid": 6, "process": "python3"}, True),
        ("numbered ranks", {"process": "VLLM::Worker_TP0"}, {"process": "VLLM::Worker_TP1"}, True),
        ("two programs", {"pid": 5, "process": "a"}, {"pid": 6, "process": "b"}, False),
        ("nobody is named", {}, {}, False),
        ("what a lost GPU leaves", {"pid": 5}, {"pid": 5, "previous": 79}, False),
    ],
)
def test_who_is_one_job(name: str, first: dict[str, Any], second: dict[str, Any], shared: bool) -> None:
    log = hits(hits(node(), (10, 45, 0), **first), (12, 45, 1), **second)
    assert (judge(log).latest[gpu("n1", 1).uuid].score == 1.0) is shared, name


@pytest.mark.parametrize(
    ("policy", "gap_s", "gpus", "weight"),
    [
        ({}, 30, 2, 1.0),
        ({}, 31, 2, 0.0),
        ({"shared_s": 60.0}, 60, 2, 1.0),
        ({"shared_gpus": 3}, 5, 2, 0.0),
        ({"shared_gpus": 3}, 5, 3, 1.0),
        ({"shared_gpus": 0}, 5, 3, 0.0),
    ],
)
def test_how_many_and_how_near_is_policy(policy: dict[str, Any], gap_s: int, gpus: int, weight: float) -> None:
    log = node().policy(6.5, from_document("x", {"signals": {"xid": policy}}))
    said = judge(hits(log, *[(10 + (gap_s if at == 1 else 0), 31, at) for at in range(gpus)], pid=77))
    assert {each for at, each in weights(said).items() if at < gpus} == {weight}


def test_the_specification_knows_no_jobs() -> None:
    said = judge(hits(node().policy(6.5, load("spec")), (10, 31, 0), (11, 31, 1), pid=77))
    assert [weights(said)[at] for at in (0, 1)] == [0.0, 0.0]


def test_one_gpu_hit_again_and_again_is_not_several() -> None:
    said = judge(hits(node(), (10, 31, 0), (16, 31, 0), (22, 43, 0), pid=77))
    assert weights(said)[0] == 0.0


def test_a_gpu_with_a_fault_of_its_own_stays_out() -> None:
    log = hits(node(), (9, 48, 0), (10, 31, 0), (12, 31, 1), pid=77)
    for second in range(13, 30):
        log.frame("n1", second, {GPU_TEMP: [99, 50, 50, 50]})
    said = judge(log.tick(30.0))
    assert weights(said) == {0: 0.0, 1: 1.0, 2: 1.0, 3: 1.0}
    assert {score.held for score in said.scores if score.uuid == gpu("n1", 0).uuid and score.ts > ms(9)} == {0.0}


def test_an_older_fault_is_not_pardoned_by_a_newer_one_of_the_same_code() -> None:
    """GPU 0 was evicted for a process of its own; half an hour later a job fails on it and on another."""
    log = hits(node(), (10, 31, 0), pid=5)
    said = judge(hits(log, (2_000, 31, 0), (2_002, 31, 1), pid=77))
    assert weights(said) == {0: 0.0, 1: 1.0, 2: 1.0, 3: 1.0}


def test_a_later_fault_of_one_gpu_alone_counts_again() -> None:
    log = hits(node(), (10, 31, 0), (12, 31, 1), pid=77)
    assert weights(judge(hits(log, (2_000, 31, 0), pid=5)))[0] == 0.0


def test_jobs_that_are_killed_often_evict_nobody() -> None:
    """Twenty times within the hour, 45 on each of four GPUs: more than the ten that evict a GPU by itself."""
    log = node()
    for number in range(20):
        hits(log, *[(100.0 * number + at / 10 + 10, 45, at) for at in range(4)], pid=number, process="python3")
    said = judge(log)
    assert {score.score for score in said.latest.values()} == {1.0}
    assert weights(said) == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}
    alone = node()
    for number in range(11):
        hits(alone, (100.0 * number + 10, 45, 0), pid=number)
    assert weights(judge(alone))[0] == 0.0


def test_a_new_policy_judges_what_a_job_did_anew() -> None:
    log = hits(node(), (10, 31, 0), (12, 31, 1), pid=77)
    log.policy(20.0, from_document("x", {"signals": {"xid": {"shared_gpus": 0}}}))
    assert {at: weights(judge(log))[at] for at in (0, 1)} == {0: 0.0, 1: 0.0}


def test_an_operators_word_on_a_gpu_ends_its_part() -> None:
    log = hits(node(), (10, 31, 0), pid=77).restore("n1", 11.0, 0)
    assert weights(judge(hits(log, (12, 31, 1), pid=77)))[1] == 0.0


def test_cuts_and_checkpoints_show_nowhere() -> None:
    log = hits(node(), (10, 31, 0), (12, 31, 1), (13, 13, 2), (50, 45, 3), (51, 45, 2), pid=77, process="python3")
    check_cuts(NodeTask, log.tick(60.0).tick(700.0).records, rounds=4)
