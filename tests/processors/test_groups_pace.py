"""How often a group is judged: at once after a quiet second, then once a second, and never late for a lost GPU."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from processors.cluster import ClusterTask
from processors.groups import WAIT_MS
from schemas import records, topics
from schemas.log import Output, Record
from schemas.states import Action
from tests.processors.test_groups import a_group, histories

BY_LINK = records.Reason(signal="xid", level="evict", cap=0.0, value=74.0)


def test_a_link_that_goes_down_shows_at_once() -> None:
    stage = a_group()
    assert len(stage.links("A", 16)) == 1


def test_what_comes_within_a_second_of_a_judgement_is_said_together_at_its_end() -> None:
    stage = a_group("ABC")
    start_ms = stage.ms
    stage.links("A", 16)
    for number, up in enumerate((14, 12, 10)):
        stage.now_s += 0.2
        assert stage.links("AB"[number % 2], up) == []
    assert stage.tick(stage.now_s + 0.3) == []
    (said,) = stage.tick(stage.now_s + 3.0)
    assert said.key == "g"
    found = stage.groups["g"]
    assert found.ts == start_ms + WAIT_MS, "it is about the moment when its turn came, not about that of the record"
    assert [issue.gpus for issue in found.issues if issue.kind == "topology"] == [["A"], ["B"]]


def test_a_turn_comes_before_the_record_that_passes_it() -> None:
    stage = a_group()
    stage.links("A", 16)
    stage.links("A", 12)
    stage.now_s += 5
    assert len(stage.links("A", 0)) == 2, "what waited, and then, a quiet second later, what this record says"
    assert stage.groups["g"].action == "evict-from-group"


def test_one_group_that_waits_keeps_no_other_from_its_turn() -> None:
    stage = a_group()
    stage.sound("CD")
    stage.place("CD", "other")
    stage.rest()
    stage.links("A", 16)
    assert stage.links("A", 12) == []
    assert [said.key for said in stage.links("C", 12)] == ["other"]


def test_a_lost_gpu_waits_for_no_turn_and_the_next_ones_do() -> None:
    stage = a_group("ABC")
    stage.links("A", 16)
    stage.judged("B", 0.0, hard=True, action=Action.EVICT)
    assert stage.groups["g"].evict == ["B"]
    stage.judged("C", 0.0, hard=True, action=Action.EVICT)
    assert stage.groups["g"].evict == ["B"]
    stage.tick(stage.now_s + 1)
    assert stage.groups["g"].evict == ["B", "C"]


def test_a_gpu_that_goes_silent_is_not_shown_as_healthy_for_a_moment() -> None:
    stage = a_group()
    stage.place("BA")
    stage.judged("A", None)
    assert stage.groups["g"].condition == "unknown"


def test_the_cause_of_a_loss_does_not_wait_where_its_victim_was_blamed() -> None:
    stage = a_group("ABC")
    stage.judged("A", 0.0, hard=True, reasons=[BY_LINK])
    stage.judged("C", 0.0, hard=True, reasons=[BY_LINK])
    assert stage.groups["g"].evict == ["A"]
    stage.judged("B", 0.0, hard=True, action=Action.EVICT)
    assert stage.groups["g"].evict == ["B"]


def test_a_new_placement_waits_for_no_turn_and_one_said_again_takes_none() -> None:
    stage = a_group("ABC")
    stage.place("AB")
    (said,) = stage.place("AC")
    assert (said.key, stage.groups["g"].gpus) == ("g", ["A", "C"])
    stage.rest()
    stage.place("AC")
    assert len(stage.links("C", 16)) == 1


def test_a_group_that_is_dissolved_while_it_waits_is_not_heard_of_again() -> None:
    stage = a_group()
    stage.links("A", 16)
    stage.links("A", 12)
    stage.place([])
    assert stage.tick(stage.now_s + 5) == []
    assert stage.groups == {}


@settings(max_examples=60)
@given(histories(), st.integers(0, 2**32))
def test_after_a_restart_those_that_wait_have_their_turn(log: list[Record], seed: int) -> None:
    close = [record._replace(ts=1000 + (record.ts - 1000) // 12) for record in log]
    check_cuts(ClusterTask, close, rounds=3, seed=seed)


@settings(max_examples=60)
@given(histories())
def test_facts_that_come_fast_lead_to_the_verdict_that_slow_ones_do(log: list[Record]) -> None:
    """What was said when, within records, stays the same; only how fast the log has taken it in differs."""
    said = [record for record in log if record.kind not in ("bandwidth", "policy")][:25]  # before one is drained
    end_ms = log[-1].ts
    fast = [record._replace(ts=end_ms) for record in said]
    slow = [record._replace(ts=end_ms + WAIT_MS * number) for number, record in enumerate(said)]
    shown = []
    for records_of in (fast, slow):
        last = records_of[-1]
        tick = last._replace(
            offset=last.offset + 1, ts=last.ts + WAIT_MS, kind="tick", value=records.encode(records.Tick(ts=0))
        )
        shown.append(verdicts([*records_of, tick]))
    assert shown[0] == shown[1]


@settings(max_examples=60)
@given(histories())
def test_a_group_is_judged_once_a_second_but_for_losses_and_placements(log: list[Record]) -> None:
    close = [record._replace(ts=1000 + (record.ts - 1000) // 12) for record in log]
    placed = {record.ts for record in close if record.kind in ("placement", "condition", "gone")}
    said = [(output.key, ts) for output, ts in spoken(close)]
    for group in "gh":
        calm = [ts for key, ts in said if key == group and ts not in placed]
        assert all(later - earlier >= WAIT_MS for earlier, later in pairwise(calm))


def spoken(log: list[Record]) -> list[tuple[Output, int]]:
    """What is said of groups, and of which moment."""
    outputs = [output for output in ClusterTask().step(log) if output.topic == topics.GROUPS and output.value]
    return [(output, msgspec.json.decode(output.value, type=records.GroupVerdict).ts) for output in outputs]


def verdicts(log: list[Record]) -> dict[str, tuple[Any, ...]]:
    """What the last one on each group says, but for its words: those are not said anew."""
    last: dict[str, tuple[Any, ...]] = {}
    for output in ClusterTask().step(log):
        if output.topic == topics.GROUPS and output.value:
            said = msgspec.json.decode(output.value, type=records.GroupVerdict)
            issues = [(issue.kind, issue.gpus) for issue in said.issues]
            last[output.key] = (said.gpus, said.condition, said.action, said.worst, said.blamed, said.evict, issues)
        elif output.topic == topics.GROUPS:
            del last[output.key]
    return last
