"""Brakes in any history: counts are those of a recount, no limit is passed, cuts and restarts do not show."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from processors.brakes import Brakes
from processors.budget import nodes_limit, unit_limit
from processors.cluster import ClusterTask
from processors.cluster_policy import Policy
from processors.fleet import Fleet
from processors.groups import Groups
from processors.scopes import Unit, units
from processors.tally import Tally
from schemas import records
from schemas.log import Record
from schemas.operators import ACTIONS
from schemas.records import gpu_key
from schemas.states import Condition

PLACES = {"A": "n1", "B": "n1", "C": "n2", "D": "n2", "E": "n3", "F": "n4"}
LIMIT = st.sampled_from([None, 0, 1, 2])


def event(draw: Any, ts: int) -> msgspec.Struct:
    uuid = draw(st.sampled_from(sorted(PLACES)))
    node = PLACES[uuid]
    kind = draw(st.sampled_from(["judge"] * 10 + ["word"] * 6 + ["place", "inventory", "gone", "policy", "tick"]))
    if kind == "judge":
        held = draw(st.sampled_from([0.0, 0.1, 0.2, 0.8, 1.0, 1.0]))
        unknown = draw(st.integers(0, 6)) == 0
        condition = Condition.UNKNOWN if unknown else Condition.of_score(held)
        hard = held == 0.0 and draw(st.booleans())
        slot = "" if draw(st.integers(0, 6)) else "1"
        said = uuid if not slot or draw(st.booleans()) else ""
        return records.ConditionChange(
            ts=ts, cluster="c", node=node, uuid=said, bdf=slot, score=held, held=held, condition=condition, hard=hard
        )
    if kind == "word":
        whole = draw(st.integers(0, 3)) == 0
        return records.Operator(
            ts=ts,
            node=draw(st.sampled_from([node, node, ""])),
            action=draw(st.sampled_from(sorted(ACTIONS))),
            uuid="" if whole else uuid,
            rack=draw(st.sampled_from(["", "", "r1"])),
            until=ts + draw(st.sampled_from([0, 1000, 20_000])),
            weight=draw(st.sampled_from([0.0, 0.5, 1.0])),
            id=f"w{ts}",
        )
    if kind == "place":
        gpus = draw(st.lists(st.sampled_from(sorted(PLACES)), unique=True, max_size=4))
        return records.Placement(ts=ts, node=node, group=draw(st.sampled_from("gh")), gpus=gpus, model="m")
    if kind == "inventory":
        gpus = [records.GpuInfo(uuid=each) for each, home in PLACES.items() if home == node]
        return records.Inventory(ts=ts, node=node, rack=draw(st.sampled_from(["", "r1", "r2"])), gpus=gpus)
    if kind == "gone":
        return records.Gone(ts=ts, cluster="c", node=node, uuid=uuid)
    if kind == "policy":
        kinds = ("node_max", "rack_max", "domain_max", "group_max", "model_max", "nodes_out_max")
        storm = {"gpus_min": draw(st.integers(1, 6)), "window_s": 5.0, "quiet_s": 8.0}
        budgets = {name: draw(LIMIT) for name in kinds}
        document = {"gpus_out_max": draw(st.sampled_from([None, 1, 3])), "gpus_out_share": 1.0}
        return records.PolicyChange(
            ts=ts, id=f"p{ts}", document={"cluster": {**document, "budgets": budgets, "storm": storm}}
        )
    return records.Tick(ts=ts)


@st.composite
def histories(draw: Any, size: int = 40) -> list[Record]:
    ts, log = 1000, []
    for offset in range(draw(st.integers(1, size))):
        ts += draw(st.sampled_from([1, 1, 1, 700, 3000, 12_000]))
        said = event(draw, ts)
        kind = str(type(said).__struct_config__.tag)
        key = gpu_key(said.node, said.uuid, said.bdf) if isinstance(said, records.ConditionChange) else ""
        log.append(Record(offset, ts, key, kind, records.encode(said)))
    return log


def discretionary(task: ClusterTask) -> set[str]:
    """GPUs whose case had to be admitted: nobody has drained them, and nothing firm is known against them."""
    members = task.fleet.members.values()
    return {each.key for each in members if each.case.open and not (each.case.firm or each.announced)}


def out(task: ClusterTask) -> set[str]:
    return {each.key for each in task.fleet.members.values() if each.case.open}


def wider(before: int | None, after: int | None) -> int | None:
    """Of the limits before a record and after it: time passes under the one, what it says is done under the other."""
    return None if before is None or after is None else max(before, after)


@settings(max_examples=100)
@given(histories())
def test_in_any_history(log: list[Record]) -> None:
    task = ClusterTask()
    for record in log:
        before, policy_before = out(task), task.decisions.policy
        task.step([record])
        fleet, policy = task.fleet, task.decisions.policy
        if before - fleet.members.keys():  # a case of before goes on, under the UUID that has come to light
            before.add(record.key)
        recount = Tally()
        recount.use(policy, task.groups, fleet.members.values())
        for mine, anew in ((fleet.tally.out, recount.out), (fleet.tally.steps, recount.steps)):
            assert (mine.used, mine.kinds, len(mine)) == (anew.used, anew.kinds, len(anew))
        assert (fleet.tally.blind, fleet.tally.wanting) == (recount.blind, recount.wanting)
        assert fleet.waiting == {key for key, member in fleet.members.items() if member.held_by}
        assert fleet.held == {
            by: {key for key, member in fleet.members.items() if member.held_by == by}
            for by in {member.held_by for member in fleet.members.values()} - {""}
        }
        used = Counter(
            unit for member in fleet.members.values() if member.out for unit in units(member.change, task.groups)
        )
        nodes = len({unit for unit in used if unit.kind == "node"})
        for key in discretionary(task) - before:
            for unit in units(fleet.members[key].change, task.groups):
                most = wider(*(unit_limit(unit.kind, each.budgets) for each in (policy_before, policy)))
                assert most is None or used[unit] <= most, f"{key} is taken out though {unit} is used up"
            most = wider(*(nodes_limit(fleet.nodes_known, each.budgets) for each in (policy_before, policy)))
            assert most is None or nodes <= most or used[Unit("node", fleet.members[key].change.node)] > 1
        for key, member in fleet.members.items():
            if member.held_by:
                brakes = task.decisions.brakes
                assert brakes.opening(member, brakes.wide()), f"{key} waits though nothing holds it"
            assert not (member.case.open and member.weight), "who is out has no traffic"
            if (member.change.corruption or member.case.corruption) and member.case.open:
                assert member.weight == 0.0


@settings(max_examples=60)
@given(histories(), st.integers(0, 2**32))
def test_cuts_and_restarts_do_not_show(log: list[Record], seed: int) -> None:
    check_cuts(ClusterTask, log, rounds=3, seed=seed)


@given(st.lists(st.tuples(st.sampled_from(sorted(PLACES)), st.booleans())))
def test_no_step_passes_a_limit(moves: list[tuple[str, bool]]) -> None:
    policy = Policy()
    groups, fleet, brakes = Groups(policy.groups), Fleet(), Brakes(policy)
    for gpu, node in PLACES.items():
        change = records.ConditionChange(
            ts=1, cluster="c", node=node, uuid=gpu, score=0, held=0, condition=Condition.FAILED, hard=True
        )
        fleet.arrive(change)
    groups.place(records.Placement(ts=1, node="n1", group="g", gpus=["A", "C", "E"]))
    brakes.attach(fleet, groups)
    steps = fleet.tally.steps
    for gpu, begins in moves:
        member = fleet.members[gpu]
        if not begins:
            steps.drop(gpu)
        elif not brakes.step(member, 1):
            steps.put(gpu, units(member.change, groups))
    limits = policy.steps
    assert all((most := unit_limit(unit.kind, limits)) is None or used <= most for unit, used in steps.used.items())
