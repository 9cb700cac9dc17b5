"""What the cluster stage decides, by example: weights, cases, nodes that go, and the budget."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas import records
from schemas.records import Decision
from schemas.states import Action, CaseState, Condition
from tests.processors.cluster_stage import FREE, HOT, Stage

# --- weights and decisions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "weight", "state"),
    [
        (1.0, 1.0, "in-service"),
        (0.7000000000000001, 1.0, "in-service"),
        (0.7, 0.7, "in-service"),
        (0.31, 0.31, "in-service"),
        (0.3, 0.0, "draining"),
        (0.0, 0.0, "draining"),
    ],
)
def test_weight_and_state_by_the_held_score(held: float, weight: float, state: str) -> None:
    stage = Stage(**FREE)
    stage.judge("G", held)
    assert (stage.weights(), stage.states()) == ({"G": weight}, {"G": state})


def test_the_held_score_makes_the_weight_not_the_score() -> None:
    stage = Stage()
    stage.judge("G", 0.5, score=1.0)
    assert (stage.weights(), stage.decisions["G"].score) == ({"G": 0.5}, 1.0)


def test_a_decision_names_gpu_policy_and_reasons_and_waits_for_nobody() -> None:
    stage = Stage(**FREE)
    (eviction, decision) = stage.judge("G", 0.0, bdf="0000:9b:00", action=Action.EVICT, reasons=[HOT])
    assert (decision.topic, decision.key, decision.kind, decision.urgent) == (
        "decisions",
        "G",
        "decision",
        True,
    )
    assert (eviction.topic, eviction.key, eviction.kind, eviction.urgent) == (
        "evictions",
        "G",
        "eviction",
        True,
    )
    assert stage.decisions["G"] == Decision(
        ts=1000,
        cluster="c",
        node="n1",
        uuid="G",
        bdf="0000:9b:00",
        weight=0.0,
        score=0.0,
        condition=Condition.FAILED,
        state=CaseState.DRAINING,
        action=Action.EVICT,
        cause="95 C",
        reasons=[HOT],
        policy="p",
    )
    assert stage.evictions[0][1].cause == "95 C"


def test_nothing_is_said_twice() -> None:
    stage = Stage()
    stage.judge("G", 0.9)
    assert stage.judge("G", 0.95) == []
    assert len(stage.judge("G", 0.95, reasons=[HOT])) == 1
    assert stage.judge("G", 0.92, reasons=[msgspec.structs.replace(HOT, value=96.0)]) == []
    assert len(stage.judge("G", 0.6)) == 1
    assert len(stage.judge("G", 0.5)) == 1  # a weight between 0.3 and 0.7 follows the score


def test_the_cause_of_a_case_is_its_worst_reason() -> None:
    stage = Stage(**FREE)
    mild = records.Reason(signal="clocks", level="critical", cap=0.3, text="slow")
    bare = records.Reason(signal="pages", level="evict", cap=0.0, since=5)
    stage.judge("G", 0.0, reasons=[mild, bare])
    stage.judge("H", 0.0)
    assert [eviction.cause for _, eviction in stage.evictions] == ["pages evict", "failed, no reason given"]


# --- unknown ------------------------------------------------------------------------------------------------


def test_unknown_freezes_the_weight() -> None:
    stage = Stage()
    stage.judge("G", 0.5)
    stage.judge("G", None)
    assert (stage.weights(), stage.decisions["G"].condition) == ({"G": 0.5}, Condition.UNKNOWN)
    assert stage.decisions["G"].action is Action.MONITOR


def test_a_gpu_never_known_gets_no_traffic_and_a_look() -> None:
    stage = Stage()
    stage.judge("G", None)
    assert (stage.decisions["G"].weight, stage.decisions["G"].action) == (0.0, Action.MONITOR)
    stage.judge("G", 1.0)
    assert stage.weights() == {"G": 1.0}


def test_unknown_brings_nobody_back() -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.2)
    stage.judge("G", None)
    assert stage.states() == {"G": "draining"}
    stage.restore("G")
    assert (stage.states(), stage.weights()) == ({"G": "in-service"}, {"G": 0.0})
    stage.judge("G", 0.95)
    assert stage.weights() == {"G": 1.0}


def test_a_hard_fault_behind_blanks_takes_the_gpu_out() -> None:
    stage = Stage()
    stage.judge("G", None, hard=True)
    assert stage.states() == {"G": "draining"}


# --- the course of a case -----------------------------------------------------------------------------------


def test_draining_ends_when_its_time_is_over_before_the_record_that_shows_it() -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.2)
    stage.tick(30_999)
    assert stage.states() == {"G": "draining"}
    stage.ts = 40_000
    outputs = stage.judge("H", 1.0)
    assert [(output.key, output.ts) for output in outputs] == [("G", 40_000), ("G", 40_000), ("H", 40_000)]
    assert stage.decisions["G"].ts == 31_000  # the moment it happened; the record is what showed it
    assert stage.evictions[-1][1].state is CaseState.DRAINED


def test_deadlines_fire_by_time_then_key() -> None:
    stage = Stage(**FREE)
    for key in ("B", "A"):
        stage.judge(key, 0.2)
    stage.ts = 999  # append times may step back; the stream clock does not
    stage.judge("0", 0.2)
    assert stage.decisions["0"].ts == 1000
    stage.ts = 1001
    stage.judge("a", 0.2)
    del stage.evictions[:]
    stage.tick(99_000)
    assert [key for key, _ in stage.evictions] == ["0", "A", "B", "a"]


@pytest.mark.parametrize(("more", "state"), [({}, "in-service"), ({"hard": True}, "draining")])
def test_recovery_while_draining_ends_a_discretionary_case_only(more: dict[str, Any], state: str) -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.2, **more)
    stage.judge("G", 0.8)
    assert stage.states() == {"G": state}
    assert stage.weights() == {"G": 1.0 if state == "in-service" else 0.0}
    stage.tick(99_000)  # the deadline of a case that is over moves nobody
    assert stage.states() == {"G": state if state == "in-service" else "drained"}


def test_recovery_while_drained_waits_for_an_operator() -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.2)
    stage.tick(99_000)
    stage.judge("G", 1.0)
    assert (stage.states(), stage.weights()) == ({"G": "drained"}, {"G": 0.0})
    stage.restore("G")
    assert (stage.states(), stage.weights()) == ({"G": "in-service"}, {"G": 1.0})
    assert stage.decisions["G"].action is Action.NONE
    assert stage.evictions[-1][1].detail == "restored by ann: ok"


def test_a_restored_gpu_that_still_fails_waits_at_no_traffic_for_its_next_judgement() -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.0, hard=True)
    stage.restore("G")
    assert (stage.states(), stage.weights()) == ({"G": "in-service"}, {"G": 0.0})
    assert stage.decisions["G"].action is Action.MONITOR
    stage.policy("q", ts=1, **FREE)  # the overruled judgement opens no case under another policy either
    assert stage.states() == {"G": "in-service"}
    stage.judge("G", 0.0, hard=True)
    assert stage.states() == {"G": "draining"}


def test_corruption_stops_routing_at_once_whatever_score_and_budget() -> None:
    stage = Stage(gpus_out_max=0)
    stage.judge("G", 0.8, corruption=True)
    assert (stage.weights(), stage.states()) == ({"G": 0.0}, {"G": "draining"})


def test_a_case_that_gets_worse_is_published_again() -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.2)
    stage.judge("G", 0.0, action=Action.EVICT_PERMANENTLY, hard=True, reasons=[HOT])
    assert [(e.action, e.detail) for _, e in stage.evictions][1:] == [(Action.EVICT_PERMANENTLY, "95 C")]
    assert stage.decisions["G"].action is Action.EVICT_PERMANENTLY


# --- the node goes ------------------------------------------------------------------------------------------


def test_remove_node_takes_every_known_gpu_of_the_node() -> None:
    stage = Stage()
    for uuid in ("A", "B", "C"):
        stage.judge(uuid, 1.0)
    stage.judge("X", 1.0, node="n2")
    stage.judge("B", 0.0, action=Action.REMOVE_NODE, hard=True, reasons=[HOT])
    assert stage.weights() == {"A": 0.0, "B": 0.0, "C": 0.0, "X": 1.0}
    assert {key: e.cause for key, e in stage.evictions} == {
        "A": "node removed: 95 C",
        "B": "95 C",
        "C": "node removed: 95 C",
    }
    stage.judge("D", 1.0)  # seen for the first time on a node that is out
    assert stage.states()["D"] == "draining"
    stage.judge("A", 0.95)
    assert stage.states()["A"] == "draining"


def test_a_neighbour_that_was_put_back_stays_in_when_the_same_fault_is_seen_again() -> None:
    stage = Stage()
    stage.judge("A", 1.0)
    stage.judge("B", 0.0, action=Action.REMOVE_NODE, hard=True)
    stage.restore("A")
    stage.judge("B", 0.0, action=Action.REMOVE_NODE, hard=True, reasons=[HOT])
    assert stage.weights() == {"A": 1.0, "B": 0.0}
    stage.restore("B")
    stage.judge("B", 0.0, action=Action.REMOVE_NODE, hard=True)  # a new case: the node goes again
    assert stage.weights() == {"A": 0.0, "B": 0.0}


# --- budget -------------------------------------------------------------------------------------------------


def test_what_the_budget_holds_keeps_its_weight_and_says_so() -> None:
    stage = Stage(gpus_out_max=1)
    for uuid, held in (("A", 1.0), ("B", 0.5), ("C", 0.2)):
        stage.judge(uuid, held)
    stage.judge("A", 0.2)
    stage.judge("B", 0.1)
    stage.judge("D", 0.25)
    assert stage.weights() == {"A": 1.0, "B": 0.5, "C": 0.0, "D": 0.3}  # D has no earlier weight: the least
    assert {k: d.held_by for k, d in stage.decisions.items()} == {
        "A": "budget",
        "B": "budget",
        "C": "",
        "D": "budget",
    }
    assert (stage.decisions["A"].state, stage.decisions["A"].action) == (CaseState.IN_SERVICE, Action.EVICT)


def test_freed_room_goes_to_the_worst_score_then_by_key() -> None:
    stage = Stage(gpus_out_max=1, gpus_out_share=1.0)
    for uuid, held in (("Z", 0.2), ("C", 0.1), ("B", 0.1), ("A", 0.2)):
        stage.judge(uuid, held)
    for out, then in (("Z", "B"), ("B", "C"), ("C", "A")):
        assert stage.states()[out] == "draining"
        outputs = stage.restore(out)
        assert stage.states()[then] == "draining", outputs
        stage.judge(out, 1.0)
    stage.judge("A", 0.9)
    assert set(stage.states().values()) == {"in-service"}


def test_a_larger_fleet_or_budget_makes_room() -> None:
    stage = Stage(gpus_out_share=0.1)
    stage.judge("A", 0.2)
    stage.judge("B", 0.2)
    for number in range(17):
        stage.judge(f"x{number}", 1.0)
    assert stage.decisions["B"].held_by == "budget"
    stage.judge("x17", 1.0)  # the 20th: a tenth are two
    assert stage.states()["B"] == "draining"
    stage.judge("C", 0.2)
    stage.policy("q", gpus_out_share=0.5)
    assert (stage.states()["C"], stage.decisions["C"].policy) == ("draining", "q")


def test_hard_faults_and_unknown_use_up_the_budget_and_hard_faults_ignore_it() -> None:
    stage = Stage(gpus_out_max=2, gpus_out_share=1.0)
    stage.judge("A", 0.0, hard=True)
    stage.judge("B", 1.0)
    stage.judge("B", None)
    stage.judge("C", 0.2)
    stage.judge("D", 0.0, hard=True)
    assert stage.states() == {"A": "draining", "B": "in-service", "C": "in-service", "D": "draining"}
    stage.judge("C", 0.2, hard=True)
    assert stage.states()["C"] == "draining"


def test_one_that_waits_and_recovers_or_is_restored_or_goes_blank_waits_no_more() -> None:
    stage = Stage(gpus_out_max=0)
    for uuid in ("A", "B", "C"):
        stage.judge(uuid, 0.5)
        stage.judge(uuid, 0.2)
    stage.judge("A", 0.6)
    stage.restore("B")
    stage.judge("C", None)
    assert {decision.held_by for decision in stage.decisions.values()} == {""}
    assert stage.weights() == {"A": 0.6, "B": 0.5, "C": 0.5}
    stage.policy("q", ts=1, **FREE)
    assert set(stage.states().values()) == {"in-service"}
