"""What operators say to the cluster stage: what each word does, for how long, and what it does not do."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import records
from schemas.records import Eviction
from tests.processors.cluster_stage import FREE, Stage

HOUR = 3_600_000
T0 = 1_767_225_600_000


class Fleet(Stage):
    def __init__(self, **policy: Any) -> None:
        super().__init__(**{**FREE, **policy})
        self.ts = T0
        self.said = 0

    def say(self, action: str, node: str = "n1", **word: Any) -> str:
        """Returns why it was refused."""
        self.said += 1
        given = {"until": self.ts + HOUR, "author": "ann", "id": f"w{self.said}", **word}
        letters = len(self.dead)
        self.feed("operator", records.encode(records.Operator(ts=self.ts, node=node, action=action, **given)))
        return self.dead[-1].why if len(self.dead) > letters else ""

    def inventory(self, node: str, rack: str, *uuids: str) -> None:
        gpus = [records.GpuInfo(uuid=uuid) for uuid in uuids]
        self.feed("inventory", records.encode(records.Inventory(ts=self.ts, node=node, rack=rack, gpus=gpus)))

    def after(self, ms: int) -> Fleet:
        self.tick(self.ts + ms)
        return self

    @property
    def last(self) -> Eviction:
        return self.evictions[-1][1]


def fleet(**policy: Any) -> Fleet:
    """A and B on n1 in rack r1, C on n2 in rack r2; all well."""
    stage = Fleet(**policy)
    stage.inventory("n1", "r1", "A", "B")
    stage.inventory("n2", "r2", "C")
    for uuid in "ABC":
        stage.judge(uuid, 1.0, node="n2" if uuid == "C" else "n1")
    return stage


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ({"node": ""}, {"A": "hold", "B": "hold", "C": "hold"}),
        ({"node": "", "rack": "r1"}, {"A": "hold:rack r1", "B": "hold:rack r1", "C": ""}),
        ({"node": "n1"}, {"A": "hold:node n1", "B": "hold:node n1", "C": ""}),
        ({"node": "n1", "uuid": "A"}, {"A": "hold:gpu A", "B": "", "C": ""}),
    ],
)
def test_a_hold_holds_where_it_is_said_until_it_is_released(scope: dict[str, str], held: dict[str, str]) -> None:
    stage = fleet()
    assert stage.say("hold", **scope, note="wait for cooling") == ""
    for uuid in "ABC":
        stage.judge(uuid, 0.1, node="n2" if uuid == "C" else "n1")
    assert {key: decision.held_by for key, decision in stage.decisions.items()} == held
    assert stage.weights() == {key: 1.0 if by else 0.0 for key, by in held.items()}
    assert stage.say("release", **scope) == ""
    assert set(stage.weights().values()) == {0.0}
    assert stage.brakes[-1].standing == []
    assert "released by ann" in stage.brakes[-1].detail


def test_a_hold_ends_by_itself() -> None:
    stage = fleet()
    stage.say("hold", node="")
    stage.judge("A", 0.1)
    assert stage.after(HOUR - 1).weights()["A"] == 1.0
    assert stage.after(1).weights()["A"] == 0.0
    assert stage.brakes[-1].detail == "hold of cluster is over: its time has come"


def test_a_hold_restrains_neither_hard_faults_nor_suspected_corruption() -> None:
    stage = fleet()
    stage.say("hold", node="")
    stage.judge("A", 0.0, hard=True)
    stage.judge("B", 1.0, corruption=True)
    assert (stage.weights()["A"], stage.weights()["B"]) == (0.0, 0.0)


def test_a_drain_takes_out_and_an_undrain_gives_back() -> None:
    stage = fleet(gpus_out_max=0)
    assert stage.say("drain", uuid="A", until=0, note="new fan") == ""
    assert stage.weights() == {"A": 0.0, "B": 1.0, "C": 1.0}
    assert (stage.last.fault, stage.last.action, stage.last.cause) == (
        "operator",
        "drain",
        "drained by ann (unverified): new fan",
    )
    stage.judge("A", 1.0)
    stage.after(HOUR).judge("A", 0.9)
    assert stage.weights()["A"] == 0.0, "being well does not end it"
    assert stage.say("undrain", uuid="A") == ""
    assert stage.weights()["A"] == 1.0
    assert stage.last.detail == "restored (undrained by ann)"


def test_a_drain_of_a_node_ends_at_its_time() -> None:
    stage = fleet()
    stage.say("drain")
    assert stage.weights() == {"A": 0.0, "B": 0.0, "C": 1.0}
    assert stage.after(HOUR).weights() == {"A": 1.0, "B": 1.0, "C": 1.0}


def test_a_drain_of_a_rack() -> None:
    stage = fleet()
    assert stage.say("drain", node="", rack="r1") == ""
    assert stage.weights() == {"A": 0.0, "B": 0.0, "C": 1.0}


def test_an_undrain_does_not_give_back_what_has_failed() -> None:
    stage = fleet()
    stage.say("drain", uuid="A")
    stage.judge("A", 0.0, hard=True)
    stage.say("undrain", uuid="A")
    stage.judge("A", 1.0)
    assert stage.weights()["A"] == 0.0


def test_an_undrain_is_not_a_restore() -> None:
    stage = fleet()
    stage.judge("A", 0.0, hard=True)
    assert "no operator has drained" in stage.say("undrain", uuid="A")
    assert stage.weights()["A"] == 0.0


def test_a_restore_ends_a_drain_too() -> None:
    stage = fleet()
    stage.say("drain", uuid="A")
    assert stage.say("restore", uuid="A") == ""
    stage.judge("A", 1.0)
    assert stage.weights()["A"] == 1.0


@pytest.mark.parametrize("judged", [{"held": 0.0, "hard": True}, {"held": None}, {"held": 1.0}])
def test_an_override_sets_the_weight_whatever_is_judged_and_says_by_whom(judged: dict[str, Any]) -> None:
    stage = fleet()
    assert stage.say("override", uuid="A", weight=0.25) == ""
    stage.judge("A", **judged)
    decision = stage.decisions["A"]
    assert (decision.weight, decision.held_by) == (0.25, "override")
    assert decision.cause == "weight 0.25 until 2026-01-01 01:00:00Z, by ann (unverified)"
    weight = stage.after(HOUR).decisions["A"].weight
    assert weight == {0.0: 0.0, None: 1.0, 1.0: 1.0}[judged["held"]]
    assert stage.decisions["A"].held_by == ""


def test_an_override_gives_back_what_was_taken_out() -> None:
    stage = fleet()
    stage.judge("A", 0.0, hard=True)
    stage.say("override", uuid="A", weight=1.0)
    assert (stage.weights()["A"], stage.states()["A"]) == (1.0, "in-service")
    stage.say("end-override", uuid="A")
    assert stage.weights()["A"] == 0.0


def test_no_override_outranks_suspected_corruption() -> None:
    stage = fleet()
    stage.say("override", uuid="A", weight=1.0)
    stage.judge("A", 0.0, corruption=True)
    assert stage.weights()["A"] == 0.0
    stage.judge("B", 0.0, corruption=True)
    assert "outputs may be wrong" in stage.say("override", uuid="B", weight=1.0)
    assert stage.weights()["B"] == 0.0


def test_a_gpu_whose_uuid_comes_to_light_keeps_what_was_said_of_it() -> None:
    stage = Fleet()
    stage.judge("", 1.0, bdf="1")
    stage.say("drain", bdf="1")
    stage.judge("A", 1.0, bdf="1")
    assert stage.weights() == {"A": 0.0}
    stage.say("undrain", uuid="A")
    assert stage.weights() == {"A": 1.0}


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ({"action": "explode"}, "unknown operator action 'explode'"),
        ({"action": "hold", "until": 0}, "give a time"),
        ({"action": "hold", "until": T0}, "give a time"),
        ({"action": "hold", "until": T0 + 40 * 24 * HOUR}, "31 days"),
        ({"action": "hold", "uuid": "typo"}, "hold of an unknown GPU: typo"),
        ({"action": "hold", "node": "n9"}, "no GPU of node 'n9' is known"),
        ({"action": "hold", "node": "", "rack": "r9"}, "no inventory has named a rack 'r9'"),
        ({"action": "hold", "node": "n1", "rack": "r1"}, "one of them, please"),
        ({"action": "release"}, "release of node n1, where no hold is"),
        ({"action": "drain", "node": ""}, "not of all"),
        ({"action": "override", "uuid": "A"}, "needs a weight"),
        ({"action": "override", "uuid": "A", "weight": 1.5}, "needs a weight"),
        ({"action": "end-override", "uuid": "A"}, "which has none"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(word: dict[str, Any], why: str) -> None:
    stage = fleet()
    before = list(stage.brakes), dict(stage.decisions)
    assert why in stage.say(**word)
    assert (list(stage.brakes), dict(stage.decisions)) == before


@pytest.mark.parametrize("action", ["drain", "undrain", "override", "proceed"])
def test_a_word_on_a_rack_of_which_nothing_is_judged_yet_is_refused_as_it_would_do_nothing(action: str) -> None:
    stage = fleet()
    stage.inventory("n9", "r9", "Z")
    assert "no GPU of rack 'r9' has been judged yet" in stage.say(action, node="", rack="r9", weight=0.5)
    assert stage.say("hold", node="", rack="r9") == ""


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("ends", ["by time", "by a word"])
def test_behind_an_override_an_unknown_gpu_has_the_weight_that_it_was_last_judged_to_have(
    ends: str, restarts: bool
) -> None:
    stage = fleet()
    stage.say("override", uuid="A", weight=0.9)
    stage.judge("A", 0.0)
    stage.say("override", uuid="B", weight=0.1)
    stage.judge("B", 0.5)
    stage.judge("A", None)
    stage.judge("B", None)
    assert stage.weights() == {"A": 0.9, "B": 0.1, "C": 1.0}
    if restarts:
        stage.restart()
    if ends == "by time":
        stage.after(HOUR)
    else:
        stage.say("end-override")
    assert stage.weights() == {"A": 0.0, "B": 0.5, "C": 1.0}


def test_a_drain_outranks_an_override() -> None:
    stage = fleet()
    stage.say("override", uuid="A", weight=1.0)
    stage.say("drain", uuid="A")
    assert stage.weights()["A"] == 0.0
    assert "undrain it first" in stage.say("override", uuid="A", weight=1.0)
