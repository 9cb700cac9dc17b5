"""MIG: a fault of an instance lowers that instance, unless its class concerns the whole GPU."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import split
from processors.instances import QUIET_MS
from processors.node import NodeTask
from processors.policy import from_document
from processors.signal import Out, Report, Signal
from processors.state import View
from processors.testing import Observations, Said, decide, gpu, judge
from schemas import records
from schemas.fields import GPU_TEMP, MEM_CLOCK, REMAPPED_UNCORRECTABLE, ROW_REMAP_FAILURE, ROW_REMAP_PENDING
from schemas.records import Score
from schemas.states import Action, Condition
from schemas.xid import CATALOG

NODE, KEY = "n1", gpu("n1").uuid


def alive(log: Observations, start_s: int, end_s: int, step_s: int = 1) -> Observations:
    for second in range(start_s, end_s + 1, step_s):
        log.frame(NODE, second, {GPU_TEMP: 50, MEM_CLOCK: 1500}, gpus=1)
    return log


def listed(
    log: Observations, at_s: float, *, mig: bool = True, instances: list[int] | None = None, boot: str = "b1"
) -> None:
    info = records.GpuInfo(uuid=KEY, bdf=gpu(NODE).bdf, mig=mig, instances=instances)
    log.report(at_s, records.Inventory(ts=0, node=NODE, gpus=[info], boot=boot))


def begin() -> Observations:
    listed(log := Observations(), 0, instances=[1, 2])
    return alive(log, 1, 10)


def newest(log: Observations) -> Score:
    return judge(log).latest[KEY]


# code: whether it stays in the instance that it names
LEVELS = {
    13: True,
    31: True,
    43: True,
    45: True,
    69: True,
    94: True,
    48: False,
    63: False,
    64: False,
    74: False,
    79: False,
    92: False,
    95: False,
    119: False,
    120: False,
    999: False,  # nobody has described it
}


@pytest.mark.parametrize(("code", "inside"), LEVELS.items())
def test_the_level_of_a_fault_is_its_classes(code: int, inside: bool) -> None:
    policy = from_document("all", {"signals": {"xid": {"responses": {str(code): "evict"}}}})
    log = begin().policy(10.5, policy).fault(NODE, 11, code, gi=1, ci=0)
    score = newest(alive(log, 12, 20))
    if inside:
        assert (score.score, score.condition, score.reasons) == (1.0, Condition.HEALTHY, [])
        [instance] = score.instances
        assert (instance.gi, instance.ci, instance.score, instance.condition) == (1, 0, 0.0, Condition.FAILED)
        assert [reason.signal for reason in instance.reasons] == ["xid"]
        assert instance.action is Action.EVICT
    else:
        assert score.score == 0.0
        assert [reason.signal for reason in score.reasons] == ["xid"]
        assert score.instances == []


@pytest.mark.parametrize(("reset", "drain", "inside"), [("No", "No", True), ("Yes", "No", False), ("No", "Yes", False)])
def test_a_contained_error_that_needs_a_reset_is_of_the_gpu(reset: str, drain: str, inside: bool) -> None:
    """There is no reset of one instance."""
    message = f"Contained: LTC (0x3,0x4). RST: {reset}, D-RST: {drain}"
    said = judge(alive(begin().fault(NODE, 11, 94, gi=1, ci=0, message=message), 12, 20))
    change = said.conditions[-1]
    assert (change.score, change.action) == ((1.0, Action.NONE) if inside else (0.0, Action.EVICT))
    assert said.latest[KEY].instances == []


def test_every_code_that_says_nothing_of_instances_is_of_the_gpu() -> None:
    for code in (31, 43, 48, 79):
        score = newest(alive(begin().fault(NODE, 11, code), 12, 15))
        assert score.score == 0.0, code
        assert score.instances == []


def test_a_number_that_no_instance_can_have_is_of_the_gpu() -> None:
    assert newest(begin().fault(NODE, 11, 31, gi=4_000_000_000)).score == 0.0


def test_neighbours_keep_their_weight() -> None:
    log = alive(begin().fault(NODE, 11, 31, gi=1, ci=0), 12, 20)
    decided = decide(judge(log))
    decision = decided.decisions[-1]
    assert (decision.weight, decision.state) == (1.0, "in-service")
    assert [(one.gi, one.ci, one.weight) for one in decision.instances] == [(1, 0, 0.0)]
    assert not decided.evictions


def test_an_instance_gets_no_more_than_its_gpu() -> None:
    log = begin().fault(NODE, 11, 45, gi=1, ci=0).fault(NODE, 12, 43)
    decision = decide(judge(alive(log, 13, 20))).decisions[-1]
    assert decision.weight == 0.0
    assert all(one.weight == 0.0 for one in decision.instances)
    assert newest(log).instances == [], "it is no worse than the GPU"


def test_several_instances_are_told_in_order() -> None:
    log = begin().fault(NODE, 11, 31, gi=2, ci=0).fault(NODE, 17, 31, gi=1).fault(NODE, 18, 45, gi=1, ci=3)
    instances = newest(log).instances
    assert [(one.gi, one.ci, one.score) for one in instances] == [(1, None, 0.0), (1, 3, 0.7), (2, 0, 0.0)]


def test_many_warnings_of_one_instance_are_its_own() -> None:
    log = begin()
    for number in range(12):
        log.fault(NODE, 20 + 10 * number, 94, gi=1, ci=0)
    score = newest(alive(log, 141, 150))
    assert score.score == 1.0
    assert [(one.gi, [why.signal for why in one.reasons]) for one in score.instances] == [(1, ["xid_rate"])]


def test_what_lowers_an_instance_for_a_time_passes() -> None:
    log = begin().fault(NODE, 11, 45, gi=1, ci=0)
    alive(log, 12, 3700, 5)
    assert [len(score.instances) for score in judge(log).scores] == [0, 1, 0]


def test_a_new_policy_judges_instances_anew() -> None:
    milder = from_document("mild", {"signals": {"xid": {"responses": {"31": "monitor"}}}})
    log = alive(begin().fault(NODE, 11, 31, gi=1, ci=0).policy(12, milder), 13, 20)
    assert newest(log).instances == []


def test_an_operator_puts_instances_back_with_the_gpu() -> None:
    log = alive(begin().fault(NODE, 11, 31, gi=1, ci=0).restore(NODE, 12), 13, 20)
    assert newest(log).instances == []


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"instances": [2]}, []),
        ({"instances": [1, 2]}, [1]),
        ({"instances": None}, [1]),
        ({"mig": False}, []),
        ({"instances": [1, 2], "boot": "b2"}, []),
    ],
)
def test_instances_that_are_gone_are_forgotten(change: dict[str, Any], left: list[int]) -> None:
    log = begin().fault(NODE, 11, 31, gi=1, ci=0)
    listed(log, 12, **change)
    alive(log, 13, 20)
    assert [one.gi for one in newest(log).instances] == left


def test_another_gpu_in_the_slot_has_no_instances_of_the_one_before() -> None:
    log = begin().fault(NODE, 11, 31, gi=1, ci=0)
    other = records.Gpu(uuid="GPU-other", bdf=gpu(NODE).bdf)
    for second in range(12, 20):
        log.frame(NODE, second, {GPU_TEMP: 50, MEM_CLOCK: 1500}, gpus=[other])
    assert judge(log).latest["GPU-other"].instances == []


def test_what_the_kernel_said_before_the_uuid_was_known_stays_with_the_gpu() -> None:
    nameless = records.Gpu(bdf=gpu(NODE).bdf)
    log = Observations().fault(NODE, 1, 31, nameless, gi=1, ci=0)
    listed(log, 2, instances=[1])
    assert [one.gi for one in newest(alive(log, 3, 20)).instances] == [1]


def test_behind_blanks_an_instance_is_not_better_than_unknown() -> None:
    log = begin().fault(NODE, 11, 45, gi=1, ci=0).fault(NODE, 11, 31, gi=2, ci=0).ticks(12, 40)
    score = newest(log)
    assert score.condition is Condition.UNKNOWN
    assert [(one.gi, one.condition) for one in score.instances] == [(1, Condition.UNKNOWN), (2, Condition.FAILED)]


def test_a_quiet_instance_is_forgotten_after_a_day() -> None:
    task = NodeTask()
    judge(begin().fault(NODE, 11, 94, gi=1, ci=0).ticks(12, 20), task)
    assert task.judges.instances.save()
    day_s = QUIET_MS // 1000
    judge(Observations().tick(day_s + 20).tick(day_s + 30).records, task)
    assert not task.judges.instances.save()


# --- health of instances --------------------------------------------------------------------------------------


class Watch(Signal):
    """DCGM's health."""

    name = "watch"
    reads = (records.HealthIncident,)

    class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        pass

    def on_report(self, report: Report, state: View, policy: Any, out: Out) -> None:
        told = report.record
        assert isinstance(told, records.HealthIncident)
        out.judge({"pass": 0, "warn": 1, "fail": 2}[told.health])


@pytest.mark.parametrize(("system", "inside"), [("sm", True), ("memory", False), ("pcie", False), ("thermal", False)])
def test_a_watch_of_shared_hardware_is_of_the_gpu(system: str, inside: bool) -> None:
    told = records.HealthIncident(ts=0, node=NODE, uuid=KEY, gi=1, ci=0, system=system, health="fail", code=1)
    listed(log := Observations(), 0)
    score = judge(log.report(1, told).ticks(2, 12), NodeTask(signals=(Watch(),))).scores[-1]
    assert (score.score, len(score.instances)) == ((1.0, 1) if inside else (0.3, 0))


# --- what cannot be told while there are instances --------------------------------------------------------------


def test_remaps_that_cannot_be_queried_are_blank_and_no_opinion() -> None:
    blank = {ROW_REMAP_FAILURE: None, ROW_REMAP_PENDING: None, REMAPPED_UNCORRECTABLE: None}
    listed(log := Observations(), 0, instances=[1])
    for second in range(1, 30):
        log.frame(NODE, second, {GPU_TEMP: 50, **blank}, gpus=1)
    score = newest(log)
    assert (score.score, score.condition, score.reasons) == (1.0, Condition.HEALTHY, [])


# --- the rest of the contract -----------------------------------------------------------------------------------

_codes = st.sampled_from(sorted(CATALOG))
_faults = st.tuples(st.just("fault"), _codes, st.integers(0, 3), st.sampled_from([None, 0, 1]))
_lists = st.tuples(st.just("list"), st.booleans(), st.sampled_from([None, [0, 1], [2]]), st.sampled_from(["b1", "b2"]))
_restores = st.tuples(st.just("restore"), st.none(), st.none(), st.none())
_stories = st.lists(st.one_of(_faults, _faults, _lists, _restores), max_size=25)


def told(story: list[tuple[Any, ...]]) -> Observations:
    log, now = begin(), 11
    for what, one, two, three in story:
        if what == "fault":
            log.fault(NODE, now, one, gi=two, ci=three)
        elif what == "list":
            listed(log, now, mig=one, instances=two, boot=three)
        else:
            log.restore(NODE, now)
        alive(log, now + 1, now + 7, 3)
        now += 8
    return log


@settings(max_examples=30, deadline=None)
@given(_stories, st.integers(1, 30))
def test_neither_batches_nor_checkpoints_nor_splits_matter(story: list[tuple[Any, ...]], size: int) -> None:
    log = told(story).records
    whole = NodeTask()
    outputs, state = whole.step(log), whole.checkpoint()
    task, said = NodeTask(), []
    for start in range(0, len(log), size):
        said += task.step(log[start : start + size])
        saved, task = split.keep(task.checkpoint(), lambda node: node == NODE, next_offset=task.next_offset), NodeTask()
        task.restore(saved)
    assert said == outputs
    assert task.checkpoint() == state


@settings(max_examples=30, deadline=None)
@given(_stories)
def test_instances_are_worse_than_their_gpu_and_never_weigh_more(story: list[tuple[Any, ...]]) -> None:
    said = judge(told(story))
    for score in said.scores:
        assert all(one.score < score.held for one in score.instances)
    _check_weights(decide(said))


def _check_weights(decided: Said) -> None:
    for decision in decided.decisions:
        for one in decision.instances:
            assert one.weight is not None
            assert one.weight <= decision.weight
