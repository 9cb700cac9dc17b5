"""Tensor-parallel groups in the cluster stage: from records of nodes to verdicts and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from processors.cluster import ClusterTask
from processors.groups import GPUS_MAX
from processors.testing import Observations, Said, decide, judge
from schemas import records, topics
from schemas.log import Output, Record
from schemas.records import GpuInfo, GroupVerdict, gpu_key
from schemas.states import Action, Condition

H100 = "NVIDIA H100 80GB HBM3"
DAY_S = 86_400


class Stage:
    """The cluster stage, and what readers of its topics see. Times are seconds."""

    def __init__(self, **policy: Any) -> None:
        self.task = ClusterTask()
        self.log: list[Record] = []
        self.now_s = 1000.0
        self.groups: dict[str, GroupVerdict] = {}
        self.weights: dict[str, float] = {}
        self.reasons: dict[str, list[str]] = {}
        self.dead: list[str] = []
        if policy:
            self.say(records.PolicyChange(ts=0, id="p", document={"cluster": policy}))

    def say(self, event: msgspec.Struct, key: str = "n1") -> list[Output]:
        kind = str(type(event).__struct_config__.tag)
        self.log.append(Record(len(self.log), self.ms, key, kind, records.encode(event)))
        outputs = self.task.step(self.log[-1:])
        assert [output.ordinal for output in outputs] == list(range(len(outputs)))
        for output in outputs:
            self._see(output)
        return [output for output in outputs if output.topic == topics.GROUPS]

    @property
    def ms(self) -> int:
        return round(1000 * self.now_s)

    def _see(self, output: Output) -> None:
        if output.topic == topics.GROUPS and not output.value:
            del self.groups[output.key]
        elif output.topic == topics.GROUPS:
            self.groups[output.key] = msgspec.json.decode(output.value, type=GroupVerdict)
        elif output.topic == topics.DECISIONS and output.value:
            decision = msgspec.json.decode(output.value, type=records.Decision)
            self.weights[output.key] = decision.weight
            self.reasons[output.key] = [reason.text for reason in decision.reasons]
        elif output.topic == topics.DEAD_LETTER:
            self.dead.append(msgspec.json.decode(output.value, type=records.DeadLetter).why)

    def judged(self, gpu: str, held: float | None = 1.0, *, node: str = "n1", **more: Any) -> list[Output]:
        condition = Condition.UNKNOWN if held is None else Condition.of_score(held)
        score = 1.0 if held is None else held
        change = records.ConditionChange(
            ts=self.ms, cluster="c", node=node, uuid=gpu, score=score, held=score, condition=condition, **more
        )
        return self.say(change, gpu_key(node, gpu, change.bdf))

    def links(self, gpu: str, up: int, *, node: str = "n1", **more: Any) -> list[Output]:
        states = ["up"] * up + ["down"] * (18 - up)
        return self.say(records.LinkStatus(**{"ts": self.ms, "node": node, "uuid": gpu, "links": states} | more))

    def listed(self, gpus: Sequence[str], *, node: str = "n1", model: str = H100) -> list[Output]:
        infos = [GpuInfo(uuid=gpu, model=model) for gpu in gpus]
        return self.say(records.Inventory(ts=self.ms, node=node, gpus=infos), node)

    def sound(self, gpus: Sequence[str], *, node: str = "n1", model: str = H100) -> None:
        """All is well with these."""
        self.listed(gpus, node=node, model=model)
        for gpu in gpus:
            self.judged(gpu, node=node)
            self.links(gpu, 18, node=node)

    def place(self, gpus: Sequence[str], group: str = "g", **more: Any) -> list[Output]:
        return self.say(records.Placement(**{"ts": self.ms, "node": "n1", "group": group, "gpus": list(gpus)} | more))

    def measured(self, one: str, other: str, gb_per_s: float, **more: Any) -> list[Output]:
        said = {"ts": self.ms, "node": "n1", "uuid": one, "peer": other, "gb_per_s": gb_per_s}
        return [*self.say(records.Bandwidth(**said | more)), *self.tick(self.now_s)]

    def rest(self) -> None:
        """A second without news: what is told next is judged at once."""
        self.now_s += 1

    def tick(self, at_s: float) -> list[Output]:
        self.now_s = at_s
        return self.say(records.Tick(ts=self.ms))


def a_group(gpus: str = "AB", **policy: Any) -> Stage:
    stage = Stage(**policy)
    stage.sound(gpus)
    stage.place(gpus, model="llama-70b", namespace="chat")
    stage.rest()
    return stage


# --- what is said, and when -----------------------------------------------------------------------------------


def test_a_verdict_names_the_group_and_waits_for_nobody() -> None:
    stage = Stage()
    stage.sound("AB")
    (said,) = stage.place("BA", model="llama-70b", namespace="chat", cluster="c")
    assert (said.key, said.kind, said.urgent) == ("g", "group", True)
    found = stage.groups["g"]
    assert (found.gpus, found.model, found.namespace, found.cluster) == (["B", "A"], "llama-70b", "chat", "c")
    assert (found.condition, found.ts, found.policy) == ("healthy", 1_000_000, stage.task.decisions.policy_id)


def test_nothing_is_said_twice() -> None:
    stage = a_group()
    assert stage.links("A", 18) == []
    assert stage.judged("A", 0.95) == []
    assert stage.place("AB", model="llama-70b", namespace="chat") == []
    stage.measured("A", "B", 390.0)
    stage.rest()
    assert stage.measured("A", "B", 390.4) == [], "a measurement differs a little each time"
    stage.rest()
    assert len(stage.links("A", 16)) == 1


def test_links_touch_only_the_groups_of_their_gpu() -> None:
    stage = a_group()
    stage.sound("CD")
    stage.place("CD", "other")
    stage.rest()
    (said,) = stage.links("C", 12)
    assert said.key == "other"


def test_a_gpu_may_be_in_several_groups() -> None:
    stage = a_group("ABC")
    stage.place("AB", "pair")
    stage.rest()
    assert [said.key for said in stage.links("A", 12)] == ["g", "pair"]
    stage.rest()
    assert [said.key for said in stage.links("C", 12)] == ["g"]


def test_a_dissolved_group_leaves_nothing() -> None:
    stage = a_group()
    (said,) = stage.place([])
    assert (said.kind, said.value) == ("tombstone", b"")
    assert stage.groups == {}
    assert stage.links("A", 12) == []
    assert stage.place([]) == []


def test_an_older_placement_changes_nothing() -> None:
    stage = a_group()
    assert stage.place("AC", ts=stage.ms - 1001) == []
    assert stage.groups["g"].gpus == ["A", "B"]


def test_a_clock_that_is_ahead_does_not_outlast_what_is_said_later() -> None:
    stage = a_group()
    year_ms = 365 * DAY_S * 1000
    stage.links("A", 12, ts=stage.ms + year_ms)
    stage.place("A", ts=stage.ms + year_ms)
    stage.tick(1010)
    stage.links("A", 18)
    stage.place("AB")
    assert (stage.groups["g"].condition, stage.groups["g"].gpus) == ("healthy", ["A", "B"])


@pytest.mark.parametrize("more", [{"group": ""}, {"gpus": ["A", ""]}, {"gpus": [f"G{n}" for n in range(GPUS_MAX + 1)]}])
def test_a_placement_that_cannot_be_is_a_dead_letter(more: dict[str, Any]) -> None:
    stage = Stage()
    assert stage.place(**{"gpus": "AB"} | more) == []
    assert "a placement that cannot be" in stage.dead[0]


# --- what is known of GPUs ------------------------------------------------------------------------------------


def test_a_group_of_gpus_never_heard_of_is_unknown() -> None:
    stage = Stage()
    stage.place("AB")
    assert (stage.groups["g"].condition, stage.groups["g"].all_reduce_gb_per_s) == ("unknown", None)
    stage.sound("AB")
    stage.tick(stage.now_s + 1)
    assert stage.groups["g"].condition == "healthy"


def test_a_gpu_that_goes_silent_makes_its_group_unknown_and_a_failed_one_lost() -> None:
    stage = a_group()
    stage.judged("A", None)
    assert stage.groups["g"].condition == "unknown"
    stage.judged("A", 0.0, hard=True, action=Action.EVICT)
    assert (stage.groups["g"].action, stage.groups["g"].evict) == ("replace", ["A"])


def test_a_gpu_that_is_replaced_is_not_known_any_more() -> None:
    stage = a_group()
    stage.say(records.Gone(ts=stage.ms, cluster="c", node="n1", uuid="A"))
    assert stage.groups["g"].condition == "unknown"


def test_a_gpu_with_xid_74_is_not_to_blame_where_a_peer_has_failed() -> None:
    stage = a_group("ABC")
    link = records.Reason(signal="xid", level="evict", cap=0.0, value=74.0)
    stage.judged("A", 0.0, hard=True, reasons=[link])
    assert stage.groups["g"].evict == ["A"]
    bus = records.Reason(signal="xid", level="evict", cap=0.0, value=79.0)
    stage.judged("B", 0.0, hard=True, reasons=[bus])
    assert stage.groups["g"].evict == ["B"]


def test_a_domain_that_spans_nodes_is_one() -> None:
    stage = Stage()
    for node in ("n1", "n2"):
        stage.sound([f"{node}-0", f"{node}-1"], node=node, model="NVIDIA GB200")
    stage.place(["n1-0", "n1-1", "n2-0", "n2-1"])
    stage.rest()
    assert (stage.groups["g"].condition, stage.groups["g"].expected_gb_per_s) == ("healthy", 900.0)
    stage.links("n2-1", 12, node="n2")
    found = stage.groups["g"]
    assert (found.action, found.blamed[0].gpus) == ("schedule-maintenance", ["n2-1"])


# --- measurements ---------------------------------------------------------------------------------------------


def test_a_measurement_counts_while_it_is_fresh() -> None:
    stage = a_group()
    stage.measured("A", "B", 200.0)
    assert (stage.groups["g"].basis, stage.groups["g"].condition) == ("measured", "failed")
    measured_s = stage.now_s
    assert stage.tick(measured_s + DAY_S - 1) == []
    assert len(stage.tick(measured_s + DAY_S)) == 1
    assert (stage.groups["g"].basis, stage.groups["g"].condition) == ("links", "healthy")


def test_a_measurement_counts_until_the_links_change() -> None:
    stage = a_group()
    stage.measured("A", "B", 390.0)
    stage.now_s += 10
    stage.links("A", 12)
    assert (stage.groups["g"].basis, stage.groups["g"].all_reduce_gb_per_s) == ("links", 300.0)
    stage.now_s += 10
    stage.measured("A", "B", 250.0)
    assert stage.groups["g"].basis == "measured"


def test_an_old_measurement_is_not_fresh_because_it_comes_now() -> None:
    stage = a_group()
    stage.now_s += 2 * DAY_S
    stage.measured("A", "B", 200.0, ts=stage.ms - 1000 * DAY_S - 1)
    stage.tick(stage.now_s + 1)
    assert stage.groups["g"].basis == "links"


def test_measurements_that_come_together_are_judged_together() -> None:
    stage = a_group("ABC")
    said = {"ts": stage.ms, "node": "n1", "uuid": "A", "gb_per_s": 200.0}
    assert stage.say(records.Bandwidth(**said, peer="B")) == []
    assert stage.say(records.Bandwidth(**said, peer="C")) == []
    assert len(stage.tick(stage.now_s)) == 1
    assert [(each.kind, each.gpus) for each in stage.groups["g"].blamed] == [("gpu", ["A"])]


def test_gpus_of_a_measurement_may_be_named_by_their_addresses() -> None:
    stage = Stage()
    stage.listed("AB")
    for gpu, bdf in (("A", "0000:18:00"), ("B", "0000:3b:00")):
        stage.judged(gpu, bdf=bdf)
        stage.links(gpu, 18)
    stage.place("AB")
    stage.rest()
    stage.measured("", "", 200.0, bdf="0000:18:00", peer_bdf="0000:3b:00")
    assert stage.groups["g"].all_reduce_gb_per_s == 200.0
    stage.measured("", "", 200.0, bdf="0000:18:00", peer_bdf="0000:99:00")
    assert stage.dead == ["measured at a GPU that is not known: 'n1/0000:99:00'"]


def test_a_bandwidth_that_cannot_be_is_a_dead_letter() -> None:
    stage = a_group()
    stage.measured("A", "B", -1.0)
    assert stage.dead == ["a bandwidth that cannot be: -1.0 GB/s"]


def test_how_long_a_measurement_counts_is_policy() -> None:
    stage = a_group()
    stage.measured("A", "B", 200.0)
    policy = {"groups": {"bandwidth_fresh_s": 10.0}}
    stage.say(records.PolicyChange(ts=1, id="q", document={"cluster": policy}))
    stage.tick(stage.now_s + 10)
    assert stage.groups["g"].basis == "links"


# --- consequences ---------------------------------------------------------------------------------------------


def test_the_decision_on_the_blamed_gpu_says_so_and_keeps_its_weight() -> None:
    stage = a_group()
    stage.links("A", 0)
    assert stage.reasons["A"] == ["to blame for group g: evict-from-group, throughput -56 %"]
    assert stage.weights == {"A": 1.0, "B": 1.0}
    assert stage.groups["g"].evict == ["A"]
    stage.rest()
    stage.links("A", 18)
    assert stage.reasons["A"] == []


def test_what_is_nobodys_fault_any_more_is_taken_back() -> None:
    stage = a_group()
    stage.links("A", 12)
    stage.place([])
    assert stage.reasons["A"] == []


def test_with_the_policy_evict_the_blamed_gpu_is_taken_out_and_comes_back() -> None:
    stage = a_group(groups={"evict": True})
    stage.links("A", 0)
    assert stage.weights == {"A": 0.0, "B": 1.0}
    assert stage.groups["g"].action == "evict-from-group", "it is out, not lost"
    stage.rest()
    stage.links("A", 18)
    assert stage.weights == {"A": 1.0, "B": 1.0}


def test_the_budget_holds_an_eviction_for_a_groups_sake_back() -> None:
    stage = a_group(groups={"evict": True}, gpus_out_max=0)
    stage.links("A", 0)
    assert stage.weights["A"] > 0.0


def test_maintenance_takes_nobody_out() -> None:
    stage = a_group(groups={"evict": True})
    stage.links("A", 12)
    assert stage.weights == {"A": 1.0, "B": 1.0}


# --- from observations ----------------------------------------------------------------------------------------


def test_what_nodes_observe_reaches_the_groups() -> None:
    told = Observations()
    infos = [GpuInfo(uuid=f"GPU-{n}", bdf=f"0000:0{n}:00", model=H100) for n in range(2)]
    told.report(0, records.Inventory(ts=0, node="n1", gpus=infos))
    for info, up in zip(infos, (18, 16), strict=True):
        told.report(0, records.LinkStatus(ts=0, node="n1", uuid=info.uuid, bdf=info.bdf, links=["up"] * up))
    placement = records.Placement(ts=0, node="n1", group="g", gpus=[info.uuid for info in infos])
    told.add(1, "n1", "placement", records.encode(placement))
    (verdict,) = decide(judge(told)).groups
    assert [issue.text for issue in verdict.issues if issue.kind == "topology"] == ["GPU-1 has 16 of 18 NVLinks up"]


def test_a_measurement_alone_makes_no_gpu_known() -> None:
    """A tool may call its machine by a name of its own."""
    measured = records.Bandwidth(ts=0, node="pod-7", uuid="", peer="", gb_per_s=1.0, bdf="0000:01:00")
    assert judge(Observations().report(0, measured).tick(60)).scores == []


# --- in any history -------------------------------------------------------------------------------------------


def event(draw: Any, ts: int) -> msgspec.Struct:
    gpu, peer = draw(st.sampled_from("ABCD")), draw(st.sampled_from("ABCD"))
    kind = draw(st.sampled_from(["links"] * 4 + ["judged"] * 4 + ["measured"] * 2 + ["place"] * 2 + ["gone", "policy"]))
    if kind == "links":
        up = draw(st.sampled_from([18, 16, 12, 0]))
        return records.LinkStatus(ts=ts, node="n1", uuid=gpu, links=["up"] * up)
    if kind == "judged":
        held = draw(st.sampled_from([1.0, 1.0, 0.0]))
        condition = draw(st.sampled_from([Condition.of_score(held), Condition.UNKNOWN]))
        return records.ConditionChange(
            ts=ts, cluster="c", node="n1", uuid=gpu, score=held, held=held, condition=condition, hard=held == 0.0
        )
    if kind == "measured":
        return records.Bandwidth(ts=ts, node="n1", uuid=gpu, peer=peer, gb_per_s=draw(st.sampled_from([390.0, 200.0])))
    if kind == "place":
        gpus = draw(st.sampled_from(["AB", "ABCD", "CD", ""]))
        return records.Placement(ts=ts, node="n1", group=draw(st.sampled_from("gh")), gpus=list(gpus))
    if kind == "gone":
        return records.Gone(ts=ts, cluster="c", node="n1", uuid=gpu)
    groups = {"evict": draw(st.booleans()), "bandwidth_fresh_s": draw(st.sampled_from([5.0, 100.0]))}
    return records.PolicyChange(ts=ts, id=f"p{ts}", document={"cluster": {"groups": groups, "gpus_out_share": 0.5}})


@st.composite
def histories(draw: Any) -> list[Record]:
    inventory = records.Inventory(ts=1, node="n1", gpus=[GpuInfo(uuid=gpu, model=H100) for gpu in "ABCD"])
    ts, said = 1000, [inventory, records.Placement(ts=1, node="n1", group="g", gpus=list("ABCD"))]
    log = [
        Record(at, ts, "n1", str(type(each).__struct_config__.tag), records.encode(each))
        for at, each in enumerate(said)
    ]
    for offset in range(2, draw(st.integers(3, 40))):
        ts += draw(st.sampled_from([0, 1, 3000, 12_000]))
        each = event(draw, ts)
        key = getattr(each, "uuid", "") if isinstance(each, records.ConditionChange) else "n1"
        log.append(Record(offset, ts, key, str(type(each).__struct_config__.tag), records.encode(each)))
    return log


@settings(max_examples=60)
@given(histories(), st.integers(0, 2**32))
def test_cuts_and_restarts_do_not_show(log: list[Record], seed: int) -> None:
    check_cuts(ClusterTask, log, rounds=3, seed=seed)


@settings(max_examples=60)
@given(histories())
def test_a_healthy_group_has_gpus_that_are_all_known_and_present(log: list[Record]) -> None:
    task = ClusterTask()
    shown: dict[str, GroupVerdict] = {}
    for record in log:
        for output in task.step([record]):
            if output.topic == topics.GROUPS and output.value:
                shown[output.key] = msgspec.json.decode(output.value, type=GroupVerdict)
            elif output.topic == topics.GROUPS:
                del shown[output.key]
        assert shown.keys() == task.groups.groups.keys()
        for verdict in shown.values():
            conditions = [
                task.fleet.members[gpu].change.condition if gpu in task.fleet.members else Condition.UNKNOWN
                for gpu in verdict.gpus
            ]
            if Condition.FAILED in conditions:
                assert verdict.condition == "failed"
            elif Condition.UNKNOWN in conditions:
                assert verdict.condition in ("unknown", "failed")
    assert not Said(task.step([])).dead_letters
