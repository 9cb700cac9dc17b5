"""The cluster stage in any history: what never happens, and that batch cuts and restarts do not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from processors.budget import limit
from processors.cluster import ClusterTask
from schemas import records, topics
from schemas.log import Output, Record
from schemas.records import Decision
from schemas.states import Action, CaseState, Condition

NODES, SLOTS = ("n1", "n2"), ("", "1", "2", "3")
UUIDS = ("", *"ABCDEF")


def event(draw: Any, ts: int) -> msgspec.Struct:
    node, uuid, bdf = draw(st.sampled_from(NODES)), draw(st.sampled_from(UUIDS)), draw(st.sampled_from(SLOTS))
    kind = draw(st.sampled_from(["judge"] * 12 + ["restore"] * 3 + ["tick"] * 2 + ["policy", "gone"]))
    if kind == "judge":
        held = draw(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0]))
        unknown = draw(st.integers(0, 5)) == 0
        firm = held <= 0.3 and draw(st.integers(0, 3)) == 0
        return records.ConditionChange(
            ts=ts,
            cluster="c",
            node=node,
            uuid=uuid,
            bdf=bdf,
            score=held,
            held=held,
            condition=Condition.UNKNOWN if unknown else Condition.of_score(held),
            action=draw(st.sampled_from(Action)) if firm else Action.NONE,
            hard=firm,
            corruption=firm and draw(st.booleans()),
        )
    if kind == "restore":
        return records.Operator(ts=ts, node=node, action="restore", uuid=uuid, bdf=bdf)
    if kind == "gone":
        return records.Gone(ts=ts, cluster="c", node=node, uuid=uuid, bdf=bdf)
    if kind == "policy":
        document = {
            "gpus_out_max": draw(st.sampled_from([0, 1, 2, 50, None])),
            "gpus_out_share": draw(st.sampled_from([0.1, 0.5, 1.0])),
            "weight_zero_at": draw(st.sampled_from([0.2, 0.3, 0.5])),
            "drain_timeout_s": draw(st.sampled_from([0, 10, 30])),
        }
        return records.PolicyChange(ts=ts, id=f"p{ts}", document={"cluster": document})
    return records.Tick(ts=ts)


@st.composite
def histories(draw: Any, size: int = 60) -> list[Record]:
    ts, log = 1000, []
    for offset in range(draw(st.integers(1, size))):
        ts += draw(st.sampled_from([-500, 0, 0, 1, 3000, 12_000]))
        said = event(draw, ts)
        kind = str(type(said).__struct_config__.tag)
        value = b"not JSON" if draw(st.integers(0, 40)) == 0 else records.encode(said)
        log.append(Record(offset, ts, "", kind, value))
    return log


def decoded(outputs: Sequence[Output]) -> dict[str, Decision | None]:
    """None: forgotten."""
    return {
        output.key: msgspec.json.decode(output.value, type=Decision) if output.value else None
        for output in outputs
        if output.topic == topics.DECISIONS
    }


def discretionary(task: ClusterTask) -> int:
    return sum(member.case.open and not member.case.firm for member in task.fleet.members.values())


@settings(max_examples=100)
@given(histories())
def test_in_any_history(log: list[Record]) -> None:
    task = ClusterTask()
    seen: dict[str, Decision] = {}
    for record in log:
        soft_before = discretionary(task)
        for key, decision in decoded(task.step([record])).items():
            if decision is None:
                seen.pop(key, None)
                continue
            before, seen[key] = seen.get(key), decision
            if before is not None and decision.weight > before.weight:
                assert record.kind in ("condition", "operator", "policy"), "time alone brings nobody back"
                assert decision.condition is not Condition.UNKNOWN, "unknown brings nobody back"
        members = task.fleet.members

        soft, most = discretionary(task), limit(len(members), task.decisions.policy)
        assert soft <= soft_before or most is None or soft <= most, "the budget is kept"
        assert seen.keys() == members.keys(), "readers and stage know the same GPUs"
        for key, member in members.items():
            shown, change = seen[key], member.change
            assert (shown.state, shown.condition) == (member.case.state, change.condition)
            assert shown.weight == member.weight
            assert shown.state is CaseState.IN_SERVICE or shown.weight == 0.0, "who is out has no traffic"
            if change.hard or change.corruption:
                assert shown.weight == 0.0, "a hard fault or suspected corruption never has traffic"
            if shown.held_by:
                assert most is not None
                assert task.fleet.capacity.out >= most, "nobody waits while there is room"

    task.step([Record(len(log), 10**9, "", "tick", b'{"kind":"tick","ts":1}')])
    states = {member.case.state for member in task.fleet.members.values()}
    assert CaseState.DRAINING not in states, "every drain ends"


@settings(max_examples=50)
@given(histories(), st.integers(0, 2**32))
def test_cuts_and_restarts_do_not_show(log: list[Record], seed: int) -> None:
    check_cuts(ClusterTask, log, rounds=3, seed=seed)
