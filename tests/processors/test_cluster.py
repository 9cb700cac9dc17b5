"""The cluster stage, by example: who is who, policies, bad input, and records that come again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.kits import check_cuts
from processors import case, case_steps, case_table, checkpoints
from processors.cluster import VERSION, ClusterTask
from schemas import records, topics
from schemas.log import Checkpoint, Origin, Record
from schemas.records import DeadLetter, Decision
from schemas.states import Condition, Step
from tests.processors.cluster_stage import FREE, Stage

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
        broken.setitem(case_table.TABLE[Step.DRAINING], case.Recovered, (case_steps.relent, frozenset()))
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
    monkeypatch.setitem(case_table.TABLE[Step.DRAINING], case.Recovered, case_table.STRAY)
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


# --- states of before ---------------------------------------------------------------------------------------

FORMER = {
    *("gpu", "state", "action", "cause", "fault", "incident"),
    *("opened_ms", "deadline_ms", "hard", "corruption", "takes_node"),
}


def test_a_checkpoint_from_before_there_were_steps_is_restored() -> None:
    at = Stage(gpus_out_max=None)
    at.judge("A", 0.0, hard=True)
    at.tick(40_000)
    at.judge("B", 0.2)
    held = at.task.checkpoint()
    saved = checkpoints.unpack(VERSION, held)
    del saved["nodes"], saved["policy"]["workflow"]
    for member in saved["members"]:
        member["case"] = {key: value for key, value in member["case"].items() if key in FORMER}
    at.task = ClusterTask()
    at.task.restore(checkpoints.pack(VERSION, held.next_offset, saved))
    assert {key: member.case.step for key, member in at.task.fleet.members.items()} == {"A": "drained", "B": "draining"}
    at.inventory("boot-1", "A", "B")
    at.policy("on", ts=1, gpus_out_max=None, steps={"node_max": None, "domain_max": None}, workflow={"enabled": True})
    assert at.case("A").step == "resetting"
    at.tick(70_000)
    assert at.case("B").step == "resetting"
