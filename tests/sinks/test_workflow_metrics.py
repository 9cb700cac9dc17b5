"""What Prometheus is told of cases, orders, brakes and outputs to check again: few series, whatever the fleet."""

from __future__ import annotations

import asyncio

import pytest

from schemas import records, topics
from schemas.log import Record
from schemas.records import Order, encode
from schemas.states import Action, CaseState, Condition, Step
from schemas.waits import Wait
from sinks.kit import Probe, check_sink
from sinks.metrics import MetricsSink
from tests.sinks.test_metrics import samples

T = 1_767_603_600_000


class Fleet:
    """Numbers records as a log does, and applies them to the sink."""

    def __init__(self):
        self.sink = MetricsSink()
        self._offset = 0

    def say(self, topic, key, kind, value):
        data = encode(value) if value is not None else b""
        asyncio.run(self.sink.apply(topic, [Record(self._offset, T, key, kind, data)]))
        self._offset += 1

    def case(self, gpu=1, step=Step.DRAINING, after_s=0.0, opened=T, **more):
        state = step.state if step else CaseState.DRAINING
        said = records.Eviction(
            ts=round(opened + 1000 * after_s),
            cluster="c1",
            node="n1",
            uuid=f"GPU-{gpu}",
            state=state,
            action=Action.EVICT,
            cause="why",
            fault="xid_119",
            opened=opened,
            step=step,
            **more,
        )
        self.say(topics.EVICTIONS, f"GPU-{gpu}", "eviction", said)

    def decision(self, gpu=1, held_by=""):
        said = records.Decision(
            ts=T,
            cluster="c1",
            node="n1",
            uuid=f"GPU-{gpu}",
            weight=1.0,
            score=0.0,
            condition=Condition.FAILED,
            state=CaseState.IN_SERVICE,
            held_by=held_by,
        )
        self.say(topics.DECISIONS, f"GPU-{gpu}", "decision", said)

    def result(self, id="c1", state="done", action="reset", **more):
        said = records.CommandResult(ts=T, node="n1", id=id, action=action, state=state, **more)
        self.say(topics.OBSERVATIONS, "n1", "command-result", said)

    def shown(self, name):
        """By the value of the one label; those that are 0 left out."""
        found = samples(self.sink).get(f"gpu_vitals_{name}", {})
        return {"/".join(value for _, value in at): value for at, value in found.items() if value}


def test_cases_are_counted_by_step_and_none_is_forgotten_or_kept_too_long():
    fleet = Fleet()
    assert set(samples(fleet.sink)["gpu_vitals_cases"].values()) == {0.0}
    for gpu, step in enumerate(Step):
        fleet.case(gpu, step)
    assert fleet.shown("cases") == {str(step): 1.0 for step in Step if step is not Step.IN_SERVICE}
    for gpu, _ in enumerate(Step):
        fleet.case(gpu, Step.IN_SERVICE, after_s=1)
    fleet.case(7, Step.RMA, after_s=2)
    fleet.say(topics.EVICTIONS, "GPU-7", "tombstone", None)
    assert fleet.shown("cases") == {}


def test_a_case_of_before_there_were_steps_has_the_step_of_its_state():
    fleet = Fleet()
    fleet.case(step=None)
    assert fleet.shown("cases") == {"draining": 1.0}


def test_how_long_steps_last():
    fleet = Fleet()
    fleet.case(step=Step.DRAINING)
    fleet.case(step=Step.DRAINING, after_s=10, waits="2 requests in flight")
    fleet.case(step=Step.REMOVING, after_s=12)
    fleet.case(step=Step.RESETTING, after_s=12.5)
    fleet.case(step=Step.DRAINING, opened=T + 900_000)  # another case: the step before it was not left
    found = samples(fleet.sink)
    at = (("step", "draining"),)
    assert found["gpu_vitals_case_step_seconds_sum"] == {at: 12.0, (("step", "removing"),): 0.5}
    assert found["gpu_vitals_case_step_seconds_count"][at] == 1.0
    buckets = {dict(labels)["le"]: value for labels, value in found["gpu_vitals_case_step_seconds_bucket"].items()
               if ("step", "draining") in labels}  # fmt: skip
    assert (buckets["5.0"], buckets["15.0"], buckets["+Inf"]) == (0.0, 1.0, 1.0)


def test_the_oldest_of_a_step_and_the_one_that_is_due_first():
    fleet = Fleet()
    fleet.case(1, Step.RESETTING, after_s=60, deadline=T + 120_000)
    fleet.case(2, Step.RESETTING, after_s=30, deadline=T + 130_000)
    fleet.case(2, Step.RESETTING, after_s=50, deadline=T + 140_000)
    assert fleet.shown("case_oldest_timestamp_seconds") == {"resetting": T / 1000 + 30}
    assert fleet.shown("case_deadline_timestamp_seconds") == {"resetting": T / 1000 + 120}


def test_how_long_a_case_has_needed_a_person():
    fleet = Fleet()
    fleet.case(1, Step.RESETTING, after_s=10)
    assert fleet.shown("case_for_people_oldest_timestamp_seconds") == {}
    fleet.case(1, Step.RESETTING, after_s=20, waits="n1 has to be rebooted")
    fleet.case(1, Step.QUARANTINED, after_s=30, waits="an operator: no reset has helped")
    fleet.case(2, Step.RMA, after_s=40)
    assert fleet.shown("case_for_people_oldest_timestamp_seconds") == {"": T / 1000 + 20}
    assert fleet.shown("case_oldest_timestamp_seconds") == {}
    fleet.case(1, Step.IN_SERVICE, after_s=50)
    assert fleet.shown("case_for_people_oldest_timestamp_seconds") == {"": T / 1000 + 40}


def test_what_cases_wait_for_is_a_kind_never_its_words():
    fleet = Fleet()
    for gpu, waits in enumerate(["budget: 3 of 3 GPUs", "budget: rack r7", "an operator", "the moon", ""]):
        fleet.case(gpu, Step.DRAINED, waits=waits)
    assert fleet.shown("cases_waiting") == {"budget": 2.0, "operator": 1.0, "other": 1.0}
    assert len(samples(fleet.sink)["gpu_vitals_cases_waiting"]) == len(Wait)


def test_resets_are_counted_up_to_three_times_and_more():
    fleet = Fleet()
    for gpu, attempts in enumerate([0, 1, 1, 2, 3, 9]):
        fleet.case(gpu, Step.RESETTING, attempts=attempts)
    assert fleet.shown("cases_reset") == {"1": 2.0, "2": 1.0, "3+": 2.0}


def test_an_order_is_outstanding_until_its_case_goes_on():
    fleet = Fleet()
    order = Order(id="o1", action="reset", boot="b", sequence=1, expires=T)
    fleet.case(1, Step.RESETTING, order=order)
    fleet.case(2, Step.DIAGNOSING, order=Order(id="o2", action="diagnose", boot="b", sequence=1, expires=T))
    fleet.case(3, Step.DIAGNOSING, order=Order(id="o3", action="melt", boot="b", sequence=1, expires=T))
    assert fleet.shown("case_orders") == {"reset": 1.0, "diagnose": 1.0, "other": 1.0}
    fleet.case(1, Step.PROBATION, after_s=9)
    assert fleet.shown("case_orders") == {"diagnose": 1.0, "other": 1.0}


def test_answers_to_commands_count_once_and_make_no_labels_of_their_own():
    fleet = Fleet()
    fleet.result(state="started")
    fleet.result()
    fleet.result()  # said again after a crash
    fleet.result(state="refused", reason="repeated")  # sent again after a crash of ours
    fleet.result("c2", "refused", reason="busy")
    for number in range(3):
        fleet.result(f"x{number}", f"state {number}", f"action {number}")
    assert fleet.shown("order_results_total") == {
        "reset/started": 1.0,
        "reset/done": 1.0,
        "reset/refused": 1.0,
        "other/other": 3.0,
    }


def test_what_holds_decisions_back_is_counted_as_it_is_now():
    fleet = Fleet()
    for gpu, by in enumerate(["budget:rack r7", "storm", "storm", "hold:node n1", "whim", ""]):
        fleet.decision(gpu, by)
    assert fleet.shown("gpus_held") == {"budget": 1.0, "storm": 2.0, "hold": 1.0, "other": 1.0}
    fleet.decision(1)
    fleet.say(topics.DECISIONS, "GPU-2", "tombstone", None)
    assert fleet.shown("gpus_held") == {"budget": 1.0, "hold": 1.0, "other": 1.0}


def test_outputs_to_check_are_open_until_they_are_answered_for():
    fleet = Fleet()
    for gpu, detected in ((1, T + 5000), (2, T + 1000)):
        said = records.Revalidation(
            ts=T, cluster="c1", node="n1", uuid=f"GPU-{gpu}", start=0, end=detected, detected=detected, since="",
            confidence="confirmed",
        )  # fmt: skip
        fleet.say(topics.REVALIDATIONS, f"GPU-{gpu}", "revalidation", said)
    oldest = "revalidation_oldest_open_timestamp_seconds"
    assert (fleet.shown("revalidations"), fleet.shown(oldest)) == ({"open": 2.0}, {"": T / 1000 + 1})

    def answer(gpu, detected, result):
        wrong = int(result == "corrupt")
        said = {"detected": detected, "end": detected, "result": result, "checked": wrong, "wrong": wrong}
        made = records.Revalidated(ts=T, node="n1", uuid=f"GPU-{gpu}", **said)
        fleet.say(topics.REVALIDATED, f"GPU-{gpu}", "revalidated", made)

    answer(2, T + 1000, "corrupt")
    assert (fleet.shown("revalidations"), fleet.shown(oldest)) == ({"open": 1.0, "corrupt": 1.0}, {"": T / 1000 + 5})
    answer(1, T + 5000, "clean")
    assert (fleet.shown("revalidations"), fleet.shown(oldest)) == ({"clean": 1.0, "corrupt": 1.0}, {})


def test_a_fleet_ten_times_as_large_has_as_many_series():
    def series(gpus):
        fleet = Fleet()
        for gpu in range(gpus):
            fleet.case(gpu, Step.DRAINED, waits=f"budget: {gpu} GPUs are out")
            fleet.decision(gpu, f"budget {gpu}")
            fleet.result(f"c{gpu}")
        names = ("case", "gpus_held", "order", "revalidation")
        found = samples(fleet.sink)
        return sum(
            len(each) for name, each in found.items() if name.startswith(tuple(f"gpu_vitals_{n}" for n in names))
        )

    assert series(3) == series(30)


@pytest.mark.parametrize(
    ("topic", "values"),
    [
        (topics.REVALIDATIONS, [b"{", b"{}", b""]),
        (topics.REVALIDATED, [b"{", b"{}", b""]),
        (topics.OBSERVATIONS, [b"{", encode(records.CommandResult(ts=T, node="n1", id="c", action="a", state="done"))]),
    ],
)
def test_contract(topic, values):
    def make():
        sink = MetricsSink()
        return Probe(sink, sink.page)

    check_sink(make, topic, [Record(at, 1000, "GPU-a", "command-result", value) for at, value in enumerate(values)])
