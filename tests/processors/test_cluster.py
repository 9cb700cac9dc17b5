"""The cluster stage, by example: records in, decisions and evictions out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.kits import check_cuts
from processors import case
from processors.cluster import ClusterTask
from schemas import records, topics
from schemas.log import Checkpoint, Origin, Output, Record
from schemas.records import DeadLetter, Decision, Eviction, gpu_key
from schemas.states import Action, CaseState, Condition

FREE = {"gpus_out_max": None}
HOT = records.Reason(signal="temperature", level="evict", cap=0.0, text="95 C")


class Stage:
    """A stage and what readers of its topics see."""

    def __init__(self, **policy: Any) -> None:
        self.task = ClusterTask()
        self.ts = 1000
        self.offset = 0
        self.outputs: list[Output] = []
        self.decisions: dict[str, Decision] = {}
        self.evictions: list[tuple[str, Eviction]] = []
        self.dead: list[DeadLetter] = []
        if policy:
            self.policy("p", **policy)

    def feed(self, kind: str, value: bytes, key: str = "default") -> list[Output]:
        outputs = self.task.step([Record(self.offset, self.ts, key, kind, value)])
        assert [output.ordinal for output in outputs] == list(range(len(outputs)))
        assert {output.offset for output in outputs} <= {self.offset}
        self.offset += 1
        self.outputs += outputs
        for output in outputs:
            if output.kind == "tombstone":
                if output.topic == topics.DECISIONS:
                    del self.decisions[output.key]
            elif output.topic == topics.DECISIONS:
                self.decisions[output.key] = msgspec.json.decode(output.value, type=Decision)
            elif output.topic == topics.EVICTIONS:
                self.evictions.append((output.key, msgspec.json.decode(output.value, type=Eviction)))
            else:
                self.dead.append(msgspec.json.decode(output.value, type=DeadLetter))
        return outputs

    def judge(self, uuid: str, held: float | None, *, node: str = "n1", **more: Any) -> list[Output]:
        """held: None = unknown."""
        condition = Condition.UNKNOWN if held is None else Condition.of_score(held)
        score = 1.0 if held is None else held
        values: dict[str, Any] = {"score": score, "held": score, "condition": condition, **more}
        change = records.ConditionChange(ts=self.ts, cluster="c", node=node, uuid=uuid, **values)
        return self.feed("condition", records.encode(change), gpu_key(node, uuid, change.bdf))

    def tick(self, ts: int) -> list[Output]:
        self.ts = ts
        return self.feed("tick", records.encode(records.Tick(ts=ts)))

    def restore(self, uuid: str = "", *, node: str = "n1", bdf: str = "", action: str = "restore") -> list[Output]:
        word = records.Operator(ts=self.ts, node=node, action=action, uuid=uuid, bdf=bdf, author="ann", note="ok")
        return self.feed("operator", records.encode(word))

    def policy(self, id: str, ts: int = 0, **cluster: Any) -> list[Output]:
        change = records.PolicyChange(ts=ts, id=id, document={"cluster": cluster})
        return self.feed("policy", records.encode(change))

    def gone(self, uuid: str, bdf: str, node: str = "n1") -> list[Output]:
        return self.feed("gone", records.encode(records.Gone(ts=self.ts, cluster="c", node=node, uuid=uuid, bdf=bdf)))

    def weights(self) -> dict[str, float]:
        return {key: decision.weight for key, decision in sorted(self.decisions.items())}

    def states(self) -> dict[str, str]:
        return {key: decision.state.value for key, decision in sorted(self.decisions.items())}


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


# --- identity -----------------------------------------------------------------------------------------------


def test_a_uuid_that_comes_to_light_takes_over_what_was_known_of_the_slot() -> None:
    stage = Stage()
    stage.judge("", 0.0, bdf="0000:9b:00", hard=True)
    assert stage.states() == {"n1/0000:9b:00": "draining"}
    stage.ts += 1000
    outputs = stage.judge("G", 0.0, bdf="0000:9b:00", hard=True)
    assert [(o.topic, o.key, o.kind, o.value == b"") for o in outputs] == [
        ("decisions", "n1/0000:9b:00", "tombstone", True),
        ("evictions", "n1/0000:9b:00", "tombstone", True),
        ("evictions", "G", "eviction", False),
        ("decisions", "G", "decision", False),
    ]
    assert (stage.states(), stage.evictions[-1][1].opened) == ({"G": "draining"}, 1000)
    stage.tick(31_000)
    assert stage.states() == {"G": "drained"}
    stage.judge("", 0.0, bdf="0000:9b:00", hard=True)  # a fault that still names the slot alone
    assert stage.states() == {"G": "drained"}
    stage.restore(bdf="0000:9b:00")
    assert stage.states() == {"G": "in-service"}


def test_a_gpu_keeps_its_weight_and_its_slot_when_it_is_named_otherwise() -> None:
    stage = Stage()
    stage.judge("", 0.5, bdf="1")
    outputs = stage.judge("G", None, bdf="1")
    assert [(o.topic, o.key, o.kind) for o in outputs] == [
        ("decisions", "n1/1", "tombstone"),  # it never had a case: nothing to forget on evictions
        ("decisions", "G", "decision"),
    ]
    assert stage.weights() == {"G": 0.5}
    stage.judge("G", 0.9)
    assert stage.decisions["G"].bdf == "1"
    stage.judge("", 0.6, bdf="1")
    assert stage.weights() == {"G": 0.6}


def test_a_uuid_that_was_known_elsewhere_keeps_what_it_has_shown() -> None:
    stage = Stage()
    stage.judge("G", 0.5)
    stage.judge("", 1.0, bdf="1")
    assert [output.kind for output in stage.judge("G", None, bdf="1")] == ["tombstone", "decision"]
    stage.judge("", 1.0, bdf="2")
    assert [output.kind for output in stage.judge("G", None, bdf="2")] == ["tombstone"]
    assert stage.weights() == {"G": 0.5}


def test_of_two_names_for_one_gpu_the_firmer_case_stays() -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.2)
    stage.judge("", 0.0, bdf="0000:9b:00", hard=True)
    stage.judge("G", 1.0, bdf="0000:9b:00")
    assert (stage.states(), stage.weights()) == ({"G": "draining"}, {"G": 0.0})


def test_a_case_follows_its_gpu_to_another_slot_and_does_not_stay_behind() -> None:
    stage = Stage()
    stage.judge("A", 0.0, bdf="1", hard=True)
    stage.judge("B", 1.0, bdf="1")
    stage.judge("A", 0.0, bdf="2", hard=True)
    assert stage.weights() == {"A": 0.0, "B": 1.0}
    stage.gone("A", "1")  # from the slot it has left already
    assert stage.states() == {"A": "draining", "B": "in-service"}
    stage.restore("C", bdf="2")  # another name in the slot: nobody is mistaken for it
    assert stage.states()["A"] == "draining"


def test_a_gpu_that_is_gone_is_forgotten() -> None:
    stage = Stage(gpus_out_max=1)
    stage.judge("A", 0.2, bdf="1")
    stage.judge("C", 0.2, bdf="3")
    stage.gone("A", "1")
    assert stage.evictions[1][1].detail == "another GPU stands in its slot"
    assert stage.states() == {"C": "draining"}  # and its place in the budget is free
    stage.gone("A", "1")
    stage.tick(99_000)
    assert stage.states() == {"C": "drained"}
    stage.restore("C")
    stage.judge("D", None, bdf="4")
    stage.judge("C", 0.2, bdf="3")
    assert stage.states()["C"] == "in-service"
    stage.gone("D", "4")  # one unknown GPU less
    assert stage.states() == {"C": "draining"}


# --- policy and bad input -----------------------------------------------------------------------------------


def test_copies_of_a_policy_change_count_once_and_an_earlier_policy_can_come_back() -> None:
    stage = Stage()
    in_force = []
    for id, ts in (("a", 1), ("b", 2), ("a", 1), ("b", 2), ("a", 3)):
        stage.policy(id, ts=ts)
        in_force.append(stage.task.decisions.policy_id)
    assert in_force == ["a", "b", "b", "b", "a"]


def test_a_policy_change_judges_anew() -> None:
    stage = Stage(**FREE)
    stage.judge("G", 0.5)
    stage.policy("strict", weight_zero_at=0.6, **FREE)
    assert stage.states() == {"G": "draining"}
    stage.policy("mild", weight_zero_at=0.3, **FREE)
    assert (stage.states(), stage.weights()) == ({"G": "in-service"}, {"G": 0.5})


def test_a_policy_that_cannot_be_read_changes_nothing() -> None:
    stage = Stage(**FREE)
    stage.policy("bad", gpus_out_maximum=3)
    assert (stage.task.decisions.policy_id, stage.task.decisions.policy.gpus_out_max) == ("p", None)
    assert "policy bad" in stage.dead[0].why
    assert "gpus_out_maximum" in stage.dead[0].why


def bare(**more: Any) -> bytes:
    return msgspec.json.encode(
        {"kind": "condition", "ts": 1, "cluster": "c", "node": "n", "condition": "healthy", **more}
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("condition", b""),
        ("condition", b"\xff\xfe"),
        ("condition", b'{"kind":"tick","ts":1}'),
        ("telemetry", b"{}"),
        ("condition", bare(uuid="G", held=1.0)),
        ("condition", bare(uuid="G", held=1.1, score=1.0)),
        ("condition", bare(uuid="G", held=-0.1, score=1.0)),
        ("condition", bare(held=1.0, score=1.0)),
        ("condition", bare(uuid="G", held=1.0, score=1.0, evidence=2**65)),
        ("policy", b'{"kind":"policy","ts":1,"id":"p","document":{"a":' + b"[" * 100_000),
        ("operator", b'{"kind":"operator","ts":1,"node":"n","action":"restore","uuid":"nobody"}'),
        ("operator", b'{"kind":"operator","ts":1,"node":"n","action":"dance","uuid":"A"}'),
    ],
)
def test_what_cannot_be_understood_is_kept_with_its_reason_and_harms_nobody(kind: str, value: bytes) -> None:
    stage = Stage()
    stage.judge("A", 1.0)
    stage.feed(kind, value)
    (letter,) = stage.dead
    assert (letter.source, letter.kind, letter.data) == ("fleet-events/0/1", kind, value)
    assert letter.why
    stage.judge("B", 1.0)
    assert stage.weights() == {"A": 1.0, "B": 1.0}
    stage.task.checkpoint()


def test_a_broken_invariant_quarantines_its_case_and_the_fleet_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(**FREE)
    stage.judge("A", 0.2)
    with monkeypatch.context() as broken:
        broken.setitem(case.TABLE[CaseState.DRAINING], case.Recovered, (case.relent, frozenset()))
        stage.judge("A", 1.0)
    stage.judge("B", 1.0)
    assert (stage.states(), stage.weights()) == ({"A": "drained", "B": "in-service"}, {"A": 0.0, "B": 1.0})
    assert "no such move" in stage.dead[0].why
    assert stage.evictions[-1][1].detail.startswith("quarantined: broken invariant")
    stage.judge("A", 1.0)
    assert stage.weights()["A"] == 0.0
    stage.restore("A")
    assert stage.weights()["A"] == 1.0


def test_a_stray_event_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(**FREE)
    stage.judge("A", 0.2)
    monkeypatch.setitem(case.TABLE[CaseState.DRAINING], case.Recovered, case.STRAY)
    stage.judge("A", 1.0)
    assert stage.states() == {"A": "draining"}
    assert "stray Recovered" in stage.dead[0].why


@pytest.mark.parametrize("data", [b"", b"nonsense"])
def test_a_checkpoint_that_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="offset 7"):
        ClusterTask().restore(Checkpoint(7, data))


# --- records that come again --------------------------------------------------------------------------------


def from_node(stage: str, partition: int, offset: int, held: float, generation: int = 0) -> Record:
    """A judgement of G that the node stage derived from its input at `offset`; where it stands is set later."""
    score = {"score": held, "held": held, "condition": Condition.of_score(held)}
    change = records.ConditionChange(ts=1000, cluster="c", node="n1", uuid="G", **score)
    origin = Origin(stage, partition, offset, 0, generation)
    return Record(-1, 1000, "G", "condition", records.encode(change), origin)


def weight_after(*given: Record) -> tuple[float, list[str]]:
    """The weight of G at the end, and what was refused; whatever the batches."""
    log = [record._replace(offset=offset) for offset, record in enumerate(given)]
    outputs = check_cuts(ClusterTask, log)
    weights = [msgspec.json.decode(out.value, type=Decision).weight for out in outputs if out.topic == topics.DECISIONS]
    letters = [out.value for out in outputs if out.topic == topics.DEAD_LETTER]
    return weights[-1], [msgspec.json.decode(letter, type=DeadLetter).why for letter in letters]


def test_what_is_said_twice_does_not_turn_the_fleet_back_in_time() -> None:
    ill, well = from_node("node", 0, 5, 0.5), from_node("node", 0, 6, 1.0)
    weight, refused = weight_after(ill, well, ill)
    assert weight == 1.0
    assert refused == ["said before: node/0 has come to 6.0, and says 5.0 again"]


def test_partitions_count_apart_and_a_new_generation_begins_anew() -> None:
    assert weight_after(from_node("node", 0, 9, 1.0), from_node("node", 1, 2, 0.5)) == (0.5, [])
    assert weight_after(from_node("node", 0, 9, 1.0), from_node("node", 0, 2, 0.5, generation=1)) == (0.5, [])
