"""Incidents by example: what real sequences of faults become, whatever the order they are told in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from processors.incident import SHOWN_MAX, TRACES_MAX
from processors.node import NodeTask
from processors.policy import from_document
from processors.testing import Observations, Said, decide, gpu, judge, ms
from schemas import records, topics
from schemas.fields import ECC_DBE_VOLATILE, GPU_TEMP, MEMORY_TEMP, RETIRED_SBE
from schemas.records import Gpu, Incident
from schemas.states import Action, Family, IncidentState

SWITCH = "0000:c3:00.0"
SWITCH_WIDE = 22003  # a fault that NVIDIA says takes the whole fabric of the node along


class Line(NamedTuple):
    """A fault that the kernel prints, at a second, of a GPU by its number."""

    at_s: float
    code: int
    of: int = 0
    more: dict[str, Any] = {}


def sxid(at_s: float, code: int, severity: str = "fatal") -> Line:
    return Line(at_s, code, -1, {"fault": "sxid", "severity": severity, "uuid": "", "bdf": SWITCH})


def node(gpus: int = 4, peers: dict[int, list[int]] | None = None) -> Observations:
    """A node of GPUs that are fine. peers: direct links, by number; none: they meet at switches."""
    log = Observations()
    infos = [
        records.GpuInfo(
            uuid=gpu("n1", at).uuid,
            bdf=gpu("n1", at).bdf,
            peers={gpu("n1", peer).uuid: 4 for peer in (peers or {}).get(at, [])},
        )
        for at in range(gpus)
    ]
    log.report(0.0, records.Inventory(ts=0, node="n1", gpus=infos))
    for second in range(1, 7):
        log.frame("n1", second, {GPU_TEMP: [50] * gpus})
    return log


def told(log: Observations, lines: Sequence[Line], start_s: float = 100.0) -> Observations:
    """The lines in this order, whatever their own time says; the log takes them within a second."""
    for line in lines:
        more = dict(line.more)
        log.fault("n1", line.at_s, more.pop("code", line.code), max(line.of, 0), append_s=start_s, **more)
    return log


def last(said: Said) -> list[Incident]:
    """The incidents that stand in the end, but for those that others have absorbed."""
    return [incident for incident in said.latest_incidents.values() if not incident.into]


def only(said: Said) -> Incident:
    (incident,) = last(said)
    return incident


def kinds(incident: Incident) -> list[str]:
    return [evidence.what for evidence in incident.evidence]


class Case(NamedTuple):
    lines: list[Line]
    root: str
    family: Family
    gpus: list[int]
    action: Action
    peers: dict[int, list[int]] | None = None


CASES = {
    "a double-bit error with its remaps and details": Case(
        [Line(50, 48), Line(50.2, 171), Line(50.2, 172), Line(50.5, 63), Line(51, 45), Line(52, 94), Line(53, 92)],
        "xid_48",
        Family.MEMORY,
        [0],
        Action.EVICT,
    ),
    "a remap that failed": Case(
        [Line(50, 95), Line(50.5, 64), Line(51, 43)], "xid_95", Family.MEMORY, [0], Action.EVICT_PERMANENTLY
    ),
    "a lost GPU with the 45s that it causes": Case(
        [Line(50, 79), Line(50.1, 45, 0, {"previous": 79}), Line(50.3, 45), Line(51, 154, 0, {"recovery_action": 2})],
        "xid_79",
        Family.BUS,
        [0],
        Action.REMOVE_NODE,
    ),
    "a lost GPU without a number": Case(
        [Line(50, 0, 0, {"fault": "bus-loss", "code": None}), Line(51, 45)],
        "xid_79",
        Family.BUS,
        [0],
        Action.REMOVE_NODE,
    ),
    "a system processor that no longer answers": Case(
        [Line(50, 119), Line(53, 45), Line(54, 154, 0, {"recovery_action": 1}), Line(56, 31)],
        "xid_119",
        Family.GSP,
        [0],
        Action.EVICT,
    ),
    "both ends of a link": Case([Line(50, 74, 1), Line(52, 74, 2)], "xid_74", Family.NVLINK, [1, 2], Action.MONITOR),
    "both ends of a direct link": Case(
        [Line(50, 74, 1), Line(52, 74, 2)], "xid_74", Family.NVLINK, [1, 2], Action.MONITOR, {1: [2], 2: [1]}
    ),
    "NVLink 5": Case([Line(50, 145, 1), Line(51, 149, 3)], "xid_145", Family.NVLINK, [1, 3], Action.MONITOR),
    "a switch with the GPUs on its links": Case(
        [sxid(50, 20034), Line(51, 74, 2), Line(51, 45, 2), Line(52, 74, 3)],
        "sxid_20034",
        Family.NVLINK,
        [2, 3],
        Action.EVICT,
    ),
    "a switch alone, of which no GPU says that it is behind the link": Case(
        [sxid(50, 20034)], "sxid_20034", Family.NVLINK, [0, 1, 2, 3], Action.EVICT
    ),
    "a switch that fails as a whole": Case(
        [Line(50, 74, 1), sxid(50, SWITCH_WIDE)],
        f"sxid_{SWITCH_WIDE}",
        Family.NVLINK,
        [0, 1, 2, 3],
        Action.REMOVE_NODE,
    ),
    "a link that a switch corrects": Case(
        [sxid(50, 20001, "non-fatal"), Line(51, 74, 2)], "xid_74", Family.NVLINK, [2], Action.MONITOR
    ),
    "a program": Case([Line(50, 13), Line(50.1, 43), Line(50.2, 45)], "xid_13", Family.APPLICATION, [0], Action.EVICT),
    "a channel without a cause": Case([Line(50, 45)], "xid_45", Family.DRIVER, [0], Action.MONITOR),
    "a code that nobody knows": Case([Line(50, 7777)], "xid_7777", Family.OTHER, [0], Action.NONE),
}


def run(case: Case, lines: Sequence[Line]) -> Said:
    return judge(told(node(peers=case.peers), lines).tick(101.0).tick(170.0))  # counts are told a minute later


@pytest.mark.parametrize("name", CASES)
def test_related_faults_are_one_incident_with_the_cause_for_its_root(name: str) -> None:
    case = CASES[name]
    incident = only(run(case, case.lines))
    assert (incident.root, incident.family, incident.action) == (case.root, case.family, case.action)
    assert incident.gpus == [gpu("n1", at) for at in case.gpus]
    assert incident.count == len(case.lines)
    assert [each.first for each in incident.evidence] == sorted(each.first for each in incident.evidence)
    assert incident.opened == ms(min(line.at_s for line in case.lines))
    assert incident.text


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CASES)), st.data())
def test_neither_order_nor_doubles_change_what_the_incident_is(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    doubled = case.lines + data.draw(st.lists(st.sampled_from(case.lines), max_size=4))
    incident = only(run(case, data.draw(st.permutations(doubled))))
    assert (incident.root, incident.family) == (case.root, case.family)
    assert incident.gpus == [gpu("n1", at) for at in case.gpus]
    expected = only(run(case, case.lines))
    assert [(each.what, each.gpu, each.first, each.last) for each in incident.evidence] == [
        (each.what, each.gpu, each.first, each.last) for each in expected.evidence
    ]


APART = {
    "two GPUs": [Line(50, 48, 0), Line(50, 48, 1)],
    "two families": [Line(50, 48), Line(50, 74)],
    "links long after each other": [Line(10, 74, 1), Line(320, 74, 2)],
    "a program's fault long after a lost link": [Line(10, 119), Line(320, 13)],
    "a program on one GPU, a lost other": [Line(50, 79, 0), Line(50, 45, 1)],
}


@pytest.mark.parametrize("name", APART)
def test_unrelated_faults_stay_apart(name: str) -> None:
    log = told(node(), APART[name], start_s=330.0)
    assert [len(incident.evidence) for incident in last(judge(log))] == [1, 1]


def test_direct_links_join_only_whom_they_join() -> None:
    said = judge(told(node(peers={0: [1], 1: [0], 2: [3], 3: [2]}), [Line(50, 74, at) for at in range(4)]))
    assert sorted([each.bdf for each in incident.gpus] for incident in last(said)) == [
        [gpu("n1", 0).bdf, gpu("n1", 1).bdf],
        [gpu("n1", 2).bdf, gpu("n1", 3).bdf],
    ]


def test_what_opens_apart_and_turns_out_to_be_one_is_merged_into_the_first() -> None:
    """A 45 stands for itself, and so does a link's end, until the lost GPU explains both."""
    lines = [Line(50, 13), Line(51, 45, 0, {"previous": 79}), Line(50, 79)]
    said = judge(told(node(), lines))
    first, *rest = said.latest_incidents.values()
    assert (first.root, first.into, rest) == ("xid_79", "", [])
    said = judge(told(node(), [Line(10, 74, 1), Line(400, 74, 2), Line(205, 74, 3)], start_s=400.0))
    first, second = said.latest_incidents.values()
    assert (second.state, second.into, second.resolved) == (IncidentState.RESOLVED, first.id, ms(400))
    assert [each.bdf for each in first.gpus] == [gpu("n1", at).bdf for at in (1, 2, 3)]
    assert first.count == 3


# --- findings ----------------------------------------------------------------------------------------------------


def after(log: Observations, start_s: int, seconds: int, columns: dict[int, Any], step_s: int = 1) -> Observations:
    for second in range(start_s, start_s + seconds, step_s):
        log.frame("n1", second, columns)
    return log


def test_the_counter_that_follows_is_evidence_of_the_double_bit_error() -> None:
    log = told(node(1), [Line(50, 48)], start_s=50.0)
    incident = only(judge(after(log, 51, 3, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1})))
    assert (incident.root, kinds(incident)) == ("xid_48", ["xid_48", "uncorrectable_ecc"])
    assert incident.corruption


@pytest.mark.parametrize(("code", "family"), [(79, Family.BUS), (119, Family.GSP), (120, Family.GSP)])
def test_blanks_and_silence_that_follow_belong_to_the_lost_gpu(code: int, family: Family) -> None:
    log = told(node(1), [Line(7, code)], start_s=7.0)
    blank = after(log, 8, 40, {GPU_TEMP: None})
    incident = only(judge(blank))
    assert (incident.root, incident.family, kinds(incident)) == (f"xid_{code}", family, [f"xid_{code}", "blanks"])
    silent = only(judge(log.ticks(48.0, 120.0)))
    assert kinds(silent) == [f"xid_{code}", "blanks", "presence"]


def test_a_gpu_that_only_cannot_tell_is_no_incident() -> None:
    assert judge(after(node(1), 8, 40, {GPU_TEMP: None})).incidents == []


def test_a_node_that_falls_silent_is_one_incident() -> None:
    incident = only(judge(node(4).ticks(7.0, 80.0)))
    assert (incident.family, incident.root, len(incident.gpus)) == (Family.PRESENCE, "presence", 4)


def test_a_warning_is_evidence_of_an_open_incident_and_opens_none() -> None:
    warm = after(node(1), 7, 3, {GPU_TEMP: 50, RETIRED_SBE: 11})
    assert judge(warm).incidents == []
    assert judge(warm).scores[-1].score == 0.7
    log = after(told(node(1), [Line(7, 48)], start_s=7.0), 8, 3, {GPU_TEMP: 50, RETIRED_SBE: 11})
    assert kinds(only(judge(log))) == ["xid_48", "retired_pages"]


def test_a_warning_is_never_the_cause_and_keeps_nothing_open() -> None:
    log = after(told(node(1), [Line(7, 63)], start_s=7.0), 8, 3, {GPU_TEMP: 50, RETIRED_SBE: 11})
    incident = only(judge(after(log, 12, 700, {GPU_TEMP: 50, RETIRED_SBE: 11}, 4)))
    assert (incident.root, kinds(incident), incident.state.value) == ("xid_63", ["xid_63", "retired_pages"], "resolved")


def test_a_warning_of_another_family_is_no_evidence() -> None:
    log = after(told(node(1), [Line(7, 13)], start_s=7.0), 8, 3, {GPU_TEMP: 50, RETIRED_SBE: 11})
    assert kinds(only(judge(log))) == ["xid_13"]


def test_a_finding_that_is_no_kernel_line_explains_no_kernel_line() -> None:
    """A GPU too hot, and a program that is killed on it."""
    log = told(after(node(1), 7, 3, {GPU_TEMP: 99}), [Line(10, 45)], start_s=10.0)
    assert [incident.root for incident in last(judge(log))] == ["temperature", "xid_45"]


def test_findings_of_one_kind_are_one_incident_until_nothing_has_come_of_it_for_ten_minutes() -> None:
    log = after(node(1), 7, 60, {GPU_TEMP: 50, MEMORY_TEMP: 60})
    for start in range(100, 400, 20):  # too hot, and not, and again
        log.frame("n1", start, {GPU_TEMP: 99}).frame("n1", start + 10, {GPU_TEMP: 50})
    said = judge(after(log, 400, 640, {GPU_TEMP: 50}, 2))
    incident = only(said)
    assert (incident.root, incident.family, incident.count) == ("temperature", Family.THERMAL, 15)
    assert (incident.state, incident.resolved) == (IncidentState.RESOLVED, ms(990))
    assert len(said.incidents) <= 2 + 400 / 60


# --- life --------------------------------------------------------------------------------------------------------


def states(said: Said) -> list[tuple[str, float, int]]:
    return [
        (each.state.value, (each.resolved - ms(0)) / 1000 if each.resolved else 0, each.reopened)
        for each in said.incidents
    ]


def test_a_fault_that_leaves_nothing_behind_is_over_after_a_while_and_is_forgotten_in_a_day() -> None:
    log = told(node(1), [Line(7, 13)], start_s=7.0).ticks(10.0, 700.0, 5.0)
    for at_s in range(700, 90_000, 600):
        log.frame("n1", at_s, {GPU_TEMP: 50})
    said = judge(log)
    xids = [each for each in said.incidents if each.root == "xid_13"]
    assert [(each.state.value, each.resolved) for each in xids] == [("open", 0), ("resolved", ms(610))]
    gone = [output.key for output in said.outputs if output.topic == topics.INCIDENTS and output.kind == "tombstone"]
    assert xids[0].id in gone


def test_what_latches_stays_open_until_an_operator_vouches_for_it() -> None:
    log = told(node(1), [Line(7, 48)], start_s=7.0).ticks(10.0, 2_000.0, 5.0)
    assert "resolved" not in {each.state.value for each in judge(log).incidents if each.root == "xid_48"}
    said = judge(log.restore("n1", 2_001.0))
    (memory,) = [each for each in last(said) if each.root == "xid_48"]
    assert (memory.state, memory.resolved) == (IncidentState.RESOLVED, ms(2_001))


@pytest.mark.parametrize(
    ("result", "level", "state"), [("pass", 2, "resolved"), ("pass", 1, "open"), ("fail", 2, "open")]
)
def test_a_passed_diagnostic_ends_what_no_longer_stands(result: str, level: int, state: str) -> None:
    diagnostic = records.Diagnostic(ts=0, node="n1", uuid=gpu("n1").uuid, tool="dcgmi diag", level=level, result=result)
    fleeting = told(node(1), [Line(7, 13)], start_s=7.0).report(20.0, diagnostic)
    (incident,) = [each for each in last(judge(fleeting)) if each.root == "xid_13"]
    assert incident.state.value == state
    standing = told(node(1), [Line(7, 48)], start_s=7.0).report(20.0, diagnostic)
    (incident,) = [each for each in last(judge(standing)) if each.root == "xid_48"]
    assert incident.state is IncidentState.OPEN


def test_the_same_root_again_opens_the_same_incident_again() -> None:
    log = told(node(1), [Line(7, 48)], start_s=7.0).restore("n1", 20.0)
    said = judge(told(log, [Line(30, 48)], start_s=30.0).restore("n1", 40.0))
    assert len(said.latest_incidents) == 1
    assert states(said) == [("open", 0, 0), ("resolved", 20, 0), ("open", 0, 1), ("resolved", 40, 1)]
    assert said.incidents[-1].count == 2
    other = judge(told(log, [Line(50, 95)], start_s=50.0))
    assert len(other.latest_incidents) == 2


def test_after_a_day_it_is_another_incident() -> None:
    policy = from_document("x", {"node": {"incident_reopen_s": 60.0}})
    log = told(node(1).policy(6.5, policy), [Line(7, 48)], start_s=7.0).restore("n1", 20.0)
    assert len(judge(told(log, [Line(90, 48)], start_s=90.0)).latest_incidents) == 2


def test_a_part_that_is_vouched_for_leaves_the_rest_open() -> None:
    policy = from_document("x", {"signals": {"xid": {"responses": {"74": "evict"}}}})
    log = told(node().policy(6.5, policy), [Line(50, 74, 1), Line(52, 74, 2)], start_s=52.0)
    assert only(judge(log.restore("n1", 60.0, 1))).state is IncidentState.OPEN
    assert only(judge(log.restore("n1", 61.0, 2))).state is IncidentState.RESOLVED


def test_another_gpu_in_the_slot_ends_the_incidents_of_the_one_before() -> None:
    other = Gpu(uuid="GPU-other", bdf=gpu("n1").bdf)
    log = told(node(1), [Line(7, 48)], start_s=7.0).frame("n1", 10.0, {GPU_TEMP: 50}, gpus=[other])
    said = judge(log.fault("n1", 11.0, 48, of=other))
    before, after_ = said.latest_incidents.values()
    assert (before.state, before.gpus) == (IncidentState.RESOLVED, [gpu("n1")])
    assert (after_.state, after_.gpus, after_.count) == (IncidentState.OPEN, [other], 1)


def test_a_gpu_that_is_named_later_keeps_its_incident() -> None:
    slot = Gpu(bdf=gpu("n1").bdf)
    log = Observations().fault("n1", 1.0, 48, of=slot).tick(6.0).inventory("n1", 7.0).fault("n1", 8.0, 63)
    incident = only(judge(log))
    assert (incident.gpus, incident.root, kinds(incident)) == ([gpu("n1")], "xid_48", ["xid_48", "xid_63"])
    bare = Gpu(uuid=gpu("n1").uuid)
    log = Observations().frame("n1", 1.0, {GPU_TEMP: 50}, gpus=[bare]).fault("n1", 2.0, 48, of=slot)
    incident = only(judge(log.inventory("n1", 7.0).fault("n1", 8.0, 63)))
    assert (incident.gpus, kinds(incident)) == ([gpu("n1")], ["xid_48", "xid_63"])


def test_of_kinds_without_end_the_likeliest_causes_are_kept() -> None:
    log = node(1)
    told(log, [Line(50 + number / 1000, 1_000 + number) for number in range(3 * TRACES_MAX)])
    said = judge(told(log, [Line(60, 14)]).tick(170.0))
    incident = only(said)
    assert len(incident.evidence) == SHOWN_MAX
    assert incident.count == 3 * TRACES_MAX + 1
    assert len(said.incidents) < 2 * TRACES_MAX


# --- what the cluster stage hears --------------------------------------------------------------------------------


def test_decisions_and_evictions_name_the_gravest_incident() -> None:
    said = judge(told(node(2), [Line(7, 13), Line(8, 48)], start_s=8.0))
    memory = next(each for each in last(said) if each.root == "xid_48")
    assert said.conditions[-1].incident == memory.id
    decided = decide(said)
    assert {eviction.incident for eviction in decided.evictions} == {memory.id}
    assert {each.bdf: each.incident for each in decided.decisions}[gpu("n1", 0).bdf] == memory.id
    assert {each.bdf: each.incident for each in decided.decisions}[gpu("n1", 1).bdf] == ""


def test_the_neighbours_of_a_lost_gpu_name_its_incident() -> None:
    said = judge(told(node(3), [Line(7, 79, 1)], start_s=7.0))
    evictions = decide(said).evictions
    assert {eviction.incident for eviction in evictions} == {only(said).id}
    assert len({eviction.uuid for eviction in evictions}) == 3


def test_a_gpu_whose_incident_is_absorbed_is_told_again_under_the_one_that_stays() -> None:
    policy = from_document("x", {"signals": {"xid": {"responses": {"74": "evict"}}}})
    lines = [Line(10, 74, 1), Line(400, 74, 2), Line(205, 74, 3)]
    said = judge(told(node().policy(6.5, policy), lines, start_s=400.0))
    newest = {change.bdf: change.incident for change in said.conditions}
    assert {newest[gpu("n1", at).bdf] for at in (1, 2, 3)} == {only(said).id}


# --- cuts --------------------------------------------------------------------------------------------------------


def test_evidence_shows_the_first_line_and_no_more_of_it_than_a_thousand_characters() -> None:
    lines = [Line(50, 48, 0, {"raw": "NVRM: first " + "x" * 5_000}), Line(49, 48, 0, {"raw": "NVRM: earlier"})]
    assert only(judge(told(node(1), lines[:1]))).evidence[0].raw == ("NVRM: first " + "x" * 5_000)[:1024]
    late = only(judge(told(node(1), lines).tick(101.0).tick(170.0)))
    assert (late.evidence[0].raw, late.opened) == ("NVRM: earlier", ms(49))


def test_batch_cuts_and_checkpoints_show_nowhere() -> None:
    log = node(4, peers={2: [3], 3: [2]})
    for name in ("a lost GPU with the 45s that it causes", "a double-bit error with its remaps and details"):
        told(log, CASES[name].lines, start_s=60.0)
    told(log, [Line(70, 74, 2), Line(70, 74, 3), sxid(71, 20034), Line(72, 31, 1, {"process": "a", "pid": 1})], 72.0)
    told(log, [Line(73, 31, 2, {"process": "a", "pid": 1})], start_s=73.0).tick(75.0).restore("n1", 80.0, 0)
    after(log, 81, 4, {GPU_TEMP: [99, 50, 50, 50]}).tick(150.0).tick(900.0)
    check_cuts(NodeTask, log.records, rounds=4)


def test_every_incident_is_in_its_records_alone() -> None:
    """Keys, order and content: what a reader of the compacted topic needs."""
    said = judge(told(node(), CASES["a switch with the GPUs on its links"].lines))
    outputs = [output for output in said.outputs if output.topic == topics.INCIDENTS]
    assert {output.key for output in outputs} == {incident.id for incident in said.incidents}
    decoded: Callable[[bytes], Incident] = msgspec.json.Decoder(Incident).decode
    assert all(decoded(output.value).id == output.key for output in outputs)
    (switch,) = [each for each in only(said).evidence if each.what == "sxid_20034"]
    assert (switch.gpu, SWITCH in switch.text) == (Gpu(), True)
