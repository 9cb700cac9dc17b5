"""The two gates: budgets of units, storms, windows; what readers are told of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from processors.brakes import Brakes
from processors.fleet import Member
from processors.scopes import units
from schemas import records, topics
from schemas.records import BudgetUse
from tests.processors.cluster_stage import Stage
from tests.processors.test_operator_words import HOUR, T0, Fleet

MODEL = "NVIDIA H100 80GB HBM3"


def racks(**policy: Any) -> Fleet:
    """Two racks of two nodes of four GPUs each: GPU r1-n1-0 and so on; group g has the first GPU of every node."""
    stage = Fleet(**policy)
    firsts = []
    for node in ("r1-n1", "r1-n2", "r2-n1", "r2-n2"):
        stage.inventory(node, node[:2], *(f"{node}-{number}" for number in range(4)))
        for number in range(4):
            stage.judge(f"{node}-{number}", 1.0, node=node)
        firsts.append(f"{node}-0")
    place(stage, firsts)
    return stage


def place(stage: Fleet, gpus: list[str]) -> None:
    placement = records.Placement(ts=stage.ts, node="r1-n1", group="g", gpus=gpus, model="llama", namespace="chat")
    stage.feed("placement", records.encode(placement))


def fail(stage: Stage, *uuids: str, held: float = 0.1, **more: Any) -> None:
    for uuid in uuids:
        stage.judge(uuid, held, node=uuid[:5], **more)


def held(stage: Stage) -> dict[str, str]:
    return {key: each.held_by for key, each in sorted(stage.decisions.items()) if each.held_by}


@pytest.mark.parametrize(
    ("budgets", "failing", "waits"),
    [
        ({}, ["r1-n1-0", "r1-n1-1", "r1-n2-0"], {}),
        ({"node_max": 1}, ["r1-n1-0", "r1-n1-1", "r1-n2-0"], {"r1-n1-1": "budget:node r1-n1"}),
        ({"domain_max": 1}, ["r1-n1-0", "r1-n1-1", "r1-n2-0"], {"r1-n1-1": "budget:domain r1-n1"}),
        ({"rack_max": 1}, ["r1-n1-0", "r1-n2-1", "r2-n1-0"], {"r1-n2-1": "budget:rack r1"}),
        ({"group_max": 1}, ["r1-n1-0", "r1-n1-1", "r2-n2-0"], {"r2-n2-0": "budget:group g"}),
        ({"model_max": 1}, ["r1-n1-0", "r2-n2-0"], {"r2-n2-0": "budget:model chat/llama"}),
        ({"nodes_out_max": 1}, ["r1-n1-0", "r1-n1-1", "r2-n2-0"], {"r2-n2-0": "budget:nodes"}),
        ({"nodes_out_share": 0.5}, ["r1-n1-0", "r1-n2-1", "r2-n2-0"], {"r2-n2-0": "budget:nodes"}),
    ],
)
def test_a_unit_that_is_used_up_holds_back_its_own(
    budgets: dict[str, Any], failing: list[str], waits: dict[str, str]
) -> None:
    stage = racks(budgets=budgets)
    fail(stage, *failing)
    assert held(stage) == waits
    assert all(stage.weights()[uuid] == (1.0 if uuid in waits else 0.0) for uuid in failing)
    fail(stage, *(uuid for uuid in failing if uuid not in waits), held=1.0)
    assert held(stage) == {}, "room goes to those that wait"
    assert all(stage.weights()[uuid] == 0.0 for uuid in waits)


def test_a_hard_fault_is_not_held_back_and_uses_the_budget() -> None:
    stage = racks(budgets={"rack_max": 1})
    fail(stage, "r1-n1-0", "r1-n1-1", held=0.0, hard=True)
    fail(stage, "r1-n2-0")
    assert held(stage) == {"r1-n2-0": "budget:rack r1"}


def test_the_worst_one_goes_first_when_there_is_room() -> None:
    stage = racks(budgets={"rack_max": 1})
    fail(stage, "r1-n1-0")
    fail(stage, "r1-n1-1", held=0.2)
    fail(stage, "r1-n1-2", held=0.0)
    fail(stage, "r1-n1-0", held=1.0)
    assert held(stage) == {"r1-n1-1": "budget:rack r1"}


def test_a_group_that_moves_on_gives_room() -> None:
    stage = racks(budgets={"group_max": 1})
    fail(stage, "r1-n1-0", "r2-n2-0")
    place(stage, ["r1-n1-1", "r2-n2-0"])
    assert held(stage) == {}


def test_a_brake_that_lets_go_while_another_holds_is_not_forgotten() -> None:
    stage = racks(budgets={"rack_max": 1}, gpus_out_max=2, gpus_out_share=1.0)
    fail(stage, "r1-n1-0", "r1-n1-1", "r2-n1-0")
    assert held(stage) == {"r1-n1-1": "budget:rack r1"}
    stage.judge("new", 0.0, node="r9-n9", hard=True)
    fail(stage, "r1-n1-0", held=1.0)
    assert stage.weights()["r1-n1-1"] == 1.0, "the fleet's budget is used up"
    fail(stage, "r2-n1-0", held=1.0)
    assert (held(stage), stage.weights()["r1-n1-1"]) == ({}, 0.0)


def test_a_storm_holds_all_that_is_discretionary_and_says_so_once() -> None:
    stage = Fleet(gpus_out_max=1000, gpus_out_share=1.0)
    for number in range(100):
        stage.judge(f"G{number:03}", 1.0, node=f"n{number // 8}")
    for number in range(30):
        stage.judge(f"G{number:03}", 0.1, node=f"n{number // 8}")
    out = [key for key, weight in stage.weights().items() if weight == 0.0]
    assert len(out) == 19, "the twentieth makes it a storm"
    stage.judge("G099", 0.0, node="n12", hard=True)
    assert stage.weights()["G099"] == 0.0
    began = [told for told in stage.brakes if told.detail.startswith("storm:")]
    assert {(told.storm, told.why) for told in began} == {(T0, "20 of 100 GPUs to be taken out within 600 s")}
    stage.after(5000)
    assert stage.brakes[-1].waiting == {"storm": 11}
    assert stage.brakes[-1].would == {"evict": 11}
    for _ in range(2 * 900 // 5):
        stage.after(5000)
    assert (held(stage), stage.brakes[-1].storm, stage.brakes[-1].waiting) == ({}, 0, {})
    assert stage.brakes[-1].detail == "storm is over: quiet for 900 s"
    details = [told.detail for told in stage.brakes]
    assert len([now for before, now in pairwise(details) if now != before]) <= 2


def test_a_third_of_the_fleet_stops_at_the_budget() -> None:
    stage = Fleet(gpus_out_max=50)
    for number in range(1000):
        stage.judge(f"G{number:03}", 1.0, node=f"n{number // 8}")
    for number in range(300):
        stage.judge(f"G{number:03}", 0.1, node=f"n{number // 8}")
    stage.after(5000)
    assert sum(weight == 0.0 for weight in stage.weights().values()) == 50
    assert stage.brakes[-1].waiting == {"budget": 49, "storm": 201}
    assert len({told.storm for told in stage.brakes} - {0}) == 1
    stage.say("release", node="")
    assert stage.brakes[-1].storm == 0
    assert sum(weight == 0.0 for weight in stage.weights().values()) == 50, "the budget stands"


def test_too_many_unknown_gpus_are_a_storm_but_not_those_of_which_nothing_was_ever_known() -> None:
    stage = Fleet()
    for number in range(40):
        stage.judge(f"G{number}", None)
    assert stage.brakes == [] or stage.brakes[-1].storm == 0
    for number in range(40):
        stage.judge(f"G{number}", 1.0)
    for number in range(20):
        stage.judge(f"G{number}", None)
    assert stage.brakes[-1].why == "nothing is known any more of 16 of 40 GPUs"


def test_planned_work_and_drains_are_no_storm() -> None:
    stage = racks()
    planned = records.Reason(signal="maintenance", level="evict", cap=0.0)
    for node in ("r1-n1", "r1-n2", "r2-n1"):
        fail(stage, *(f"{node}-{number}" for number in range(4)), held=0.0, reasons=[planned])
    stage.say("drain", node="r2-n2")
    assert stage.say("drain", node="", rack="r1") == ""
    assert all(told.storm == 0 for told in stage.brakes)


# --- the second gate ---------------------------------------------------------------------------------------


def gate(stage: Fleet, uuid: str) -> str:
    return stage.task.decisions.brakes.step(stage.task.fleet.members[uuid], stage.ts)


def begin_step(stage: Fleet, *uuids: str) -> None:
    fleet, groups = stage.task.fleet, stage.task.groups
    for uuid in uuids:
        fleet.tally.steps.put(uuid, units(fleet.members[uuid].change, groups))


@pytest.mark.parametrize(
    ("steps", "in_step", "asking", "why"),
    [
        ({}, [], "r1-n1-0", ""),
        ({}, ["r1-n1-0"], "r1-n1-0", ""),
        ({}, ["r1-n1-0"], "r1-n1-1", "budget:node r1-n1: at most 1 "),
        ({}, ["r1-n1-1"], "r1-n2-1", ""),
        ({}, ["r1-n1-0"], "r2-n1-0", "budget:group g: at most 1 "),
        ({"rack_max": 1}, ["r1-n1-1"], "r1-n2-1", "budget:rack r1: at most 1 "),
        ({"gpus_max": 2}, ["r1-n1-1", "r2-n1-1"], "r1-n2-1", "budget: 2 GPUs are in such a step, at most 2"),
        ({"gpus_max": 0}, [], "r1-n2-1", "budget: 0 GPUs are in such a step, at most 0"),
        ({"gpus_max": None, "node_max": None, "domain_max": None, "group_max": None}, ["r1-n1-0"], "r1-n1-1", ""),
        ({"windows": ["thu 00:00-00:30"]}, [], "r1-n1-0", ""),
        ({"windows": ["fri", "thu 01:00-02:00"]}, [], "r1-n1-0", "window: such steps begin fri, thu 01:00-02:00 UTC"),
    ],
)
def test_disruptive_steps_have_limits_of_their_own(
    steps: dict[str, Any], in_step: list[str], asking: str, why: str
) -> None:
    stage = racks(steps=steps)
    begin_step(stage, *in_step)
    assert gate(stage, asking).startswith(why)
    assert bool(gate(stage, asking)) is bool(why)


def test_holds_and_storms_stop_steps_of_hard_faults_too() -> None:
    stage = racks()
    fail(stage, "r1-n1-0", held=0.0, hard=True)
    stage.say("hold", node="", rack="r1", note="cooling")
    assert gate(stage, "r1-n1-0") == "hold:rack r1, by ann: cooling"
    assert gate(stage, "r2-n1-1") == ""
    stage.say("release", node="", rack="r1")
    fail(
        stage, *(f"{node}-{n}" for node in ("r1-n1", "r1-n2", "r2-n1", "r2-n2") for n in range(4)), held=0.0, hard=True
    )
    assert gate(stage, "r1-n1-0") == "storm: 16 of 16 GPUs to be taken out within 600 s"


# --- what readers are told ---------------------------------------------------------------------------------


def test_a_quiet_fleet_says_nothing_of_its_brakes() -> None:
    stage = racks()
    for _ in range(100):
        stage.after(1000)
    assert stage.brakes == []


def test_readers_see_words_at_once_and_counts_soon() -> None:
    stage = racks(gpus_out_max=2, gpus_out_share=1.0, budgets={"rack_max": 1})
    stage.after(60_000)
    fail(stage, "r1-n1-0")
    stage.say("hold", uuid="r2-n1-0", note="mine")
    told = stage.brakes[-1]
    assert (told.ts, told.cluster, told.detail) == (stage.ts, "c", "hold of gpu r2-n1-0 by ann (unverified): mine")
    [hold] = told.standing
    assert (hold.what, hold.scope, hold.author, hold.until) == ("hold", "gpu r2-n1-0", "ann", stage.ts + HOUR)
    fail(stage, "r1-n1-1")
    stage.after(5000)
    told = stage.brakes[-1]
    assert told.waiting == {"budget:rack r1": 1}
    assert BudgetUse(name="out", used=1, limit=2) in told.budgets
    assert BudgetUse(name="out rack r1", used=1, limit=1) in told.budgets
    keys = {output.key for output in stage.outputs if output.topic == topics.BRAKES}
    assert keys == {"c"}


def test_counts_that_do_not_change_are_not_said_again() -> None:
    stage = racks()
    fail(stage, "r1-n1-0")
    stage.after(5000)
    count = len(stage.brakes)
    for _ in range(50):
        stage.after(5000)
    assert len(stage.brakes) == count


def test_brakes_without_a_fleet_hold_nothing() -> None:
    stage = racks()
    member: Member = stage.task.fleet.members["r1-n1-0"]
    assert Brakes(stage.task.decisions.policy).opening(member, "") == ""
