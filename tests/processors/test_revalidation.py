"""Silent corruption: which outputs have to be checked again, and what releases the GPU."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policies import load
from processors import split
from processors.node import NodeTask
from processors.policy import Policy, from_document
from processors.testing import Observations, Said, decide, gpu, judge, ms
from schemas import records
from schemas.fields import ECC_DBE_VOLATILE, GPU_TEMP, ROW_REMAP_FAILURE
from schemas.states import Action, CaseState

GPU = gpu("n1")
DAY_S = 86_400.0


def healthy(at_s: float = 1.0, log: Observations | None = None) -> Observations:
    return (log or Observations()).frame("n1", at_s, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 0}).tick(at_s + 5.0)


def diagnosed(
    log: Observations, at_s: float, result: str = "pass", *, level: int = 2, started_s: float | None = None
) -> Observations:
    started = ms(at_s - 5.0 if started_s is None else started_s)
    test = records.DiagnosticTest(name="memory", result=result, codes=[52] if result == "fail" else [])
    told = records.Diagnostic(
        ts=0,
        node="n1",
        uuid=GPU.uuid,
        bdf=GPU.bdf,
        tool="dcgmi diag",
        level=level,
        result=result,
        started=started,
        tests=[test],
    )
    return log.report(at_s, told)


def node(**keys: Any) -> Policy:
    return from_document("test", {"node": keys})


def windows(said: Said) -> list[tuple[float, float, str]]:
    """(start, end, what made the start a good point), in seconds."""
    return [((r.start - ms(0.0)) / 1000, (r.end - ms(0.0)) / 1000, r.since) for r in said.revalidations]


# --- what is told --------------------------------------------------------------------------------------------------


def test_an_uncorrectable_error_names_what_to_check_again() -> None:
    said = judge(healthy().fault("n1", 100.0, 48, gi=2, ci=0))
    (told,) = said.revalidations
    assert (told.node, told.uuid, told.bdf, told.gi, told.ci) == ("n1", GPU.uuid, GPU.bdf, 2, 0)
    assert (told.start, told.end, told.detected) == (ms(5.0), ms(100.0), ms(100.0))
    assert (told.since, told.confidence, told.repeat) == ("admission", "confirmed", False)
    assert [why.text for why in told.evidence] == ["Xid 48: double-bit ECC error"]
    assert said.conditions[-1].corruption
    (output,) = [output for output in said.outputs if output.topic == "revalidations"]
    assert (output.key, output.urgent) == (GPU.uuid, True)


def violation(log: Observations) -> Observations:
    return log.report(100.0, records.PolicyViolation(ts=0, node="n1", uuid=GPU.uuid, bdf=GPU.bdf, condition="dbe"))


def incident(log: Observations, code: int) -> Observations:
    found = {"system": "memory", "health": "fail", "code": code}
    return log.report(100.0, records.HealthIncident(ts=0, node="n1", uuid=GPU.uuid, bdf=GPU.bdf, **found))


@pytest.mark.parametrize(
    ("what", "happens", "confidence"),
    [
        ("Xid 48", lambda log: log.fault("n1", 100.0, 48), "confirmed"),
        ("Xid 95", lambda log: log.fault("n1", 100.0, 95), "confirmed"),
        ("counter", lambda log: log.frame("n1", 100.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}), "confirmed"),
        ("policy", violation, "confirmed"),
        ("health", lambda log: incident(log, 4), "confirmed"),
        ("health, either end of a link", lambda log: incident(log, 86), "suspected"),
        ("diagnostic", lambda log: diagnosed(log, 100.0, "fail"), "confirmed"),
    ],
)
def test_evidence_of_any_kind_stops_routing_at_once(what: str, happens: Any, confidence: str) -> None:
    said = judge(happens(healthy()))
    (told,) = said.revalidations
    assert (told.start, told.end, told.confidence) == (ms(5.0), ms(100.0), confidence)
    assert decide(said).decisions[-1].weight == 0.0


@pytest.mark.parametrize("code", [31, 43, 63, 64, 79, 94])
def test_other_faults_are_no_corruption(code: int) -> None:
    assert judge(healthy().fault("n1", 100.0, code)).revalidations == []


def test_the_specification_asks_for_it_too() -> None:
    said = judge(healthy(log=Observations().policy(0.0, load("spec"))).fault("n1", 100.0, 48))
    assert windows(said) == [(5.0, 100.0, "admission")]


# --- the last known-good point -------------------------------------------------------------------------------------


def test_a_passed_diagnostic_is_the_best_point() -> None:
    assert windows(judge(diagnosed(healthy(), 50.0).fault("n1", 100.0, 48))) == [(45.0, 100.0, "diagnostic")]


@pytest.mark.parametrize(("result", "level"), [("fail", 2), ("warn", 2), ("incomplete", 2), ("pass", 1)])
def test_no_other_result_is_one(result: str, level: int) -> None:
    log = diagnosed(healthy(), 50.0, result, level=level)
    if result == "fail":
        log.restore("n1", 55.0)
    assert windows(judge(log.fault("n1", 100.0, 48)))[-1][2] == "admission"


def test_the_diagnostic_is_preferred_however_old() -> None:
    log = diagnosed(healthy(), 50.0)
    for day in range(1, 4):
        healthy(day * DAY_S, log)
    assert windows(judge(log.fault("n1", 3 * DAY_S + 60, 48))) == [(45.0, 3 * DAY_S + 60, "diagnostic")]


def test_an_operators_word_is_an_admission() -> None:
    log = healthy().fault("n1", 100.0, 48).restore("n1", 200.0).fault("n1", 300.0, 48)
    assert windows(judge(log)) == [(5.0, 100.0, "admission"), (200.0, 300.0, "admission")]


def damaged(log: Observations | None = None) -> Observations:
    """First seen with an error on its counter."""
    return (log or Observations()).frame("n1", 1.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}).tick(6.0)


def test_what_is_corrupt_at_first_sight_was_never_known_to_be_good() -> None:
    (told,) = judge(damaged()).revalidations
    assert (told.start, told.since, told.end) == (0, "", ms(1.0))


def test_time_without_errors_is_a_point_where_nothing_better_is_known() -> None:
    """Under `spec` a driver reload takes the error back, so nobody has put the GPU back."""
    log = damaged(Observations().policy(0.0, load("spec")))
    healthy(60.0, log)
    for hour in range(1, 60):
        healthy(3600.0 * hour, log)
    said = judge(log.frame("n1", 3600.0 * 60, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}))
    assert windows(said)[-1] == (60.0 + 2 * DAY_S, 3600.0 * 60, "clean-scrub")


def test_time_in_which_nobody_could_tell_is_not_without_errors() -> None:
    log = damaged(Observations().policy(0.0, load("spec")))
    healthy(60.0, log)
    log.ticks(61.0, 7200.0, 60.0)  # silent: unknown, then failed
    for hour in range(3, 26):
        healthy(3600.0 * hour, log)
    said = judge(log.frame("n1", 3600.0 * 26, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}))
    assert said.revalidations[-1].since != "clean-scrub"


def test_without_a_newer_point_the_window_begins_where_the_last_one_did() -> None:
    log = healthy(log=Observations().policy(0.0, load("spec")))
    log.frame("n1", 100.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1})
    healthy(200.0, log)  # the counter restarted: under `spec` all is well again
    said = judge(log.frame("n1", 300.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}))
    assert windows(said) == [(5.0, 100.0, "admission"), (5.0, 300.0, "admission")]


# --- episodes ------------------------------------------------------------------------------------------------------


def test_later_evidence_widens_the_episode() -> None:
    log = healthy().fault("n1", 100.0, 48)
    log.frame("n1", 110.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}).tick(115.0)
    log.frame("n1", 120.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}).tick(125.0)
    first, second = judge(log).revalidations
    assert (first.detected, second.detected) == (ms(100.0), ms(100.0))
    assert (first.end, second.end) == (ms(100.0), ms(110.0))
    assert [why.signal for why in second.evidence] == ["xid", "uncorrectable_ecc"]


def test_the_same_evidence_again_is_no_news() -> None:
    log = healthy().fault("n1", 100.0, 48)
    for number in range(50):
        log.fault("n1", 100.1 + number * 0.05, 48)
        log.frame("n1", 100.1 + number * 0.05, {GPU_TEMP: 50 + number % 3, ECC_DBE_VOLATILE: 0})
    assert len(judge(log).revalidations) == 1


def test_a_new_policy_is_no_news() -> None:
    log = healthy().fault("n1", 100.0, 48)
    for number, name in enumerate(["spec", "default"] * 2):
        log.policy(110.0 + 10 * number, load(name)).tick(115.0 + 10 * number)
    lenient = from_document("lenient", {"signals": {"xid": {"responses": {"48": "monitor"}}}})
    log.policy(200.0, lenient).tick(210.0)
    healthy(220.0, log).policy(230.0, load("default")).tick(240.0)
    said = judge(log)
    assert len(said.revalidations) == 1
    assert said.conditions[-1].action is Action.EVICT


def test_another_gpu_in_the_slot_has_no_history() -> None:
    log = healthy().fault("n1", 100.0, 48)
    other = records.Gpu(uuid="GPU-other", bdf=GPU.bdf)
    log.frame("n1", 200.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 0}, gpus=[other]).tick(205.0).fault("n1", 300.0, 48, other)
    told = judge(log).revalidations[-1]
    assert (told.uuid, told.start, told.repeat) == ("GPU-other", ms(205.0), False)


def test_evidence_before_the_uuid_is_known_stays_with_the_gpu() -> None:
    """The kernel names a slot; telemetry then says who is in it."""
    log = Observations().fault("n1", 10.0, 48, records.Gpu(bdf=GPU.bdf))
    log.frame("n1", 20.0, {GPU_TEMP: 50}, gpus=[records.Gpu(uuid=GPU.uuid)]).tick(25.0)
    log.frame("n1", 26.0, {GPU_TEMP: 50}, gpus=[GPU]).tick(30.0)
    said = judge(log.restore("n1", 40.0).fault("n1", 50.0, 48))
    assert [told.repeat for told in said.revalidations] == [False, True]
    assert windows(said)[-1] == (40.0, 50.0, "admission")


# --- release and repetition ----------------------------------------------------------------------------------------


def case(said: Said) -> CaseState:
    return decide(said).decisions[-1].state


def test_a_passed_diagnostic_alone_does_not_put_the_gpu_back() -> None:
    log = diagnosed(healthy().fault("n1", 100.0, 48), 200.0).tick(600.0)
    said = judge(log)
    assert said.conditions[-1].corruption
    assert case(said) is CaseState.DRAINED


@pytest.mark.parametrize("evidence", ["xid", "counter", "diagnostic", "xid and diagnostic"])
def test_it_does_where_the_policy_says_so(evidence: str) -> None:
    log = healthy(log=Observations().policy(0.0, node(release_by_diagnostic=True)))
    if "xid" in evidence:
        log.fault("n1", 100.0, 48)
    if "counter" in evidence:
        log.frame("n1", 100.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1})
    if "diagnostic" in evidence:
        diagnosed(log, 120.0, "fail")
    said = judge(diagnosed(log, 200.0).tick(205.0))
    change = said.conditions[-1]
    assert (change.score, change.held, change.corruption) == (1.0, 1.0, False)
    assert (case(said), decide(said).decisions[-1].weight) == (CaseState.IN_SERVICE, 1.0)
    assert windows(judge(log.fault("n1", 300.0, 48)))[-1] == (195.0, 300.0, "diagnostic")


@pytest.mark.parametrize(
    ("result", "level", "started_s"),
    [("pass", 1, None), ("warn", 2, None), ("incomplete", 3, None), ("fail", 3, None), ("pass", 2, 99.0)],
)
def test_but_no_lesser_one_and_none_that_began_before_the_evidence(
    result: str, level: int, started_s: float | None
) -> None:
    log = healthy(log=Observations().policy(0.0, node(release_by_diagnostic=True))).fault("n1", 100.0, 48)
    said = judge(diagnosed(log, 200.0, result, level=level, started_s=started_s).tick(205.0))
    assert said.conditions[-1].corruption
    assert case(said) is CaseState.DRAINING or case(said) is CaseState.DRAINED


def test_a_deeper_diagnostic_that_failed_is_not_disproved() -> None:
    log = healthy(log=Observations().policy(0.0, node(release_by_diagnostic=True))).fault("n1", 100.0, 48)
    said = judge(diagnosed(diagnosed(log, 120.0, "fail", level=3), 200.0).tick(205.0))
    assert said.conditions[-1].corruption
    seen = [why.signal for why in said.conditions[-1].reasons]
    assert "diagnostic" in seen
    assert "xid" not in seen
    assert case(said) is CaseState.DRAINED


def test_what_is_no_corruption_is_not_released_with_it() -> None:
    log = healthy(log=Observations().policy(0.0, node(release_by_diagnostic=True)))
    log.frame("n1", 90.0, {GPU_TEMP: 50, ROW_REMAP_FAILURE: 1}).fault("n1", 100.0, 48)
    change = judge(diagnosed(log, 200.0).tick(205.0)).conditions[-1]
    assert (change.score, change.corruption, change.action) == (0.0, False, Action.EVICT_PERMANENTLY)


def twice(gap_s: float, log: Observations | None = None) -> Said:
    """The counter moves, an operator restores the GPU, and it moves again."""
    log = healthy(log=log)
    log.frame("n1", 100.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1}).restore("n1", 150.0)
    log.frame("n1", 160.0, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 1})
    return judge(log.frame("n1", 100.0 + gap_s, {GPU_TEMP: 50, ECC_DBE_VOLATILE: 2}))


@pytest.mark.parametrize(
    ("gap_s", "repeat"), [(3600.0, True), (30 * DAY_S - 1, True), (30 * DAY_S, False), (90 * DAY_S, False)]
)
def test_corruption_that_comes_back_within_the_policys_days_is_permanent(gap_s: float, repeat: bool) -> None:
    said = twice(gap_s)
    assert [told.repeat for told in said.revalidations] == [False, repeat]
    action = Action.EVICT_PERMANENTLY if repeat else Action.EVICT
    assert said.conditions[-1].action is action


def test_how_many_days_is_policy() -> None:
    assert twice(2 * DAY_S, Observations().policy(0.0, node(repeat_days=1))).conditions[-1].action is Action.EVICT
    assert twice(3600.0, Observations().policy(0.0, node(repeat_days=0))).conditions[-1].action is Action.EVICT


# --- state ---------------------------------------------------------------------------------------------------------

STEPS = st.sampled_from(["48", "31", "restore", "count", "reload", "pass", "fail", "dbe", "tick"])


def story(steps: list[str]) -> Observations:
    log, count = healthy(log=Observations().policy(0.0, node(release_by_diagnostic=True))), 0
    for number, step in enumerate(steps):
        at_s = 20.0 + 10 * number
        if step.isdigit():
            log.fault("n1", at_s, int(step))
        elif step == "restore":
            log.restore("n1", at_s)
        elif step in ("pass", "fail"):
            diagnosed(log, at_s, step)
        elif step == "dbe":
            told = records.PolicyViolation(ts=0, node="n1", uuid=GPU.uuid, bdf=GPU.bdf, condition="dbe")
            log.report(at_s, told)
        else:
            count = count + 1 if step == "count" else 0 if step == "reload" else count
            healthy_or_not = {GPU_TEMP: 50, ECC_DBE_VOLATILE: count}
            log.frame("n1", at_s, healthy_or_not).tick(at_s + 5.0)
    return log


@given(st.lists(STEPS, max_size=10))
def test_windows_are_windows_and_corruption_is_always_told(steps: list[str]) -> None:
    said = judge(story(steps))
    told = said.revalidations
    assert all(0 < each.start <= each.end and each.detected <= each.end for each in told)
    assert all(each.evidence and each.since for each in told)
    assert [each.end for each in told] == sorted({each.end for each in told})
    first = next((change.ts for change in said.conditions if change.corruption), None)
    assert (told[0].ts if told else None) == first


@given(st.lists(STEPS, max_size=8), st.integers(0, 30))
def test_a_checkpoint_changes_nothing(steps: list[str], cut: int) -> None:
    log = story(steps).records
    whole = judge(log).outputs
    before, after = NodeTask(), NodeTask()
    said = before.step(log[:cut])
    kept = split.keep(before.checkpoint(), lambda name: True, next_offset=before.next_offset)
    after.restore(before.checkpoint())
    assert said + after.step(log[cut:]) == whole
    parted = NodeTask()
    parted.restore(kept)
    assert said + parted.step(log[cut:]) == whole
