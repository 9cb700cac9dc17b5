from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas import fields, frames, records, topics
from schemas.log import Origin, Record
from schemas.records import Gpu, Reason, encode
from schemas.states import Action, CaseState, Condition, GroupAction, PredictionAction
from sinks.kit import Probe, check_sink
from sinks.metrics import MetricsSink
from sinks.own_health import StageStats

GPU = {"gpu_id", "hostname"}
KNOWN = Gpu(uuid="GPU-a", bdf="0000:18:00")


def score(key="GPU-a", value=1.0, condition=Condition.HEALTHY, reasons=()):
    return encode(
        records.Score(
            ts=1, cluster="c1", node="n1", uuid=key, score=value, held=value, condition=condition, reasons=list(reasons)
        )
    )


def eviction(key, opened, state=CaseState.DRAINING, fault="xid"):
    return encode(
        records.Eviction(
            ts=1,
            cluster="c1",
            node="n1",
            uuid=key,
            state=state,
            action=Action.EVICT,
            cause="1",
            fault=fault,
            opened=opened,
        )
    )


def xid(code, fault="xid"):
    return encode(
        records.Xid(
            ts=1, cluster="c1", node="n1", fault=fault, code=code, severity="fatal", response="evict", meaning="lost"
        )
    )


def status(state, lost=0):
    return encode(records.SourceStatus(ts=1, node="n1", source="kmsg", state=state, lost=lost))


def frame(seq=1, columns=None, gpus=(KNOWN,)):
    every = {
        fields.GPU_TEMP: [51.0],
        fields.ECC_SBE_VOLATILE: [7.0],
        fields.ECC_DBE_VOLATILE: [1.0],
        fields.RETIRED_SBE: [3.0],
        fields.RETIRED_DBE: [2.0],
        fields.NVLINK_CRC_FLIT[0]: [11.0],
        fields.NVLINK_CRC_FLIT[17]: [12.0],
        fields.NVLINK_CRC_FLIT_TOTAL: [99.0],
    }
    columns = every if columns is None else columns
    return frames.encode(frames.build(node="n1", seq=seq, gpus=gpus, ticks=[seq], columns=columns))


def given(*batches, stages=tuple):
    """Samples by metric after (topic, kind, key, value ...) records: {name: {labels: value}}."""
    sink = MetricsSink(stages)

    async def apply():
        for topic, *values in batches:
            made = [Record(at, 1000, key, kind, value) for at, (kind, key, value) in enumerate(values)]
            await sink.apply(topic, made)

    asyncio.run(apply())
    return samples(sink)


def samples(sink):
    shown = {}
    for family in text_string_to_metric_families(sink.page().decode()):
        for sample in family.samples:
            shown.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return shown


def types(sink):
    lines = sink.page().decode().splitlines()
    return dict(line.split()[2:4] for line in lines if line.startswith("# TYPE"))


@pytest.mark.parametrize(
    ("name", "type", "labels", "value"),
    [
        ("dcgm_gpu_health_score", "gauge", {}, 1.0),
        ("dcgm_ecc_correctable_total", "counter", {}, 7.0),
        ("dcgm_ecc_uncorrectable_total", "counter", {}, 1.0),
        ("dcgm_gpu_temperature_celsius", "gauge", {}, 51.0),
        ("dcgm_retired_pages_total", "gauge", {"type": "sbe"}, 3.0),
        ("dcgm_retired_pages_total", "gauge", {"type": "dbe"}, 2.0),
        ("dcgm_nvlink_crc_errors_total", "counter", {"link_id": "0"}, 11.0),
        ("dcgm_nvlink_crc_errors_total", "counter", {"link_id": "17"}, 12.0),
        ("dynamo_gpu_eviction_total", "counter", {"reason": "xid"}, 1.0),
    ],
)
def test_the_specified_metrics_have_exactly_their_names_types_and_labels(name, type, labels, value):
    shown = given(
        (topics.OBSERVATIONS, (frames.KIND, "n1", frame())),
        (topics.SCORES, ("score", "GPU-a", score())),
        (topics.EVICTIONS, ("eviction", "GPU-a", eviction("GPU-a", 5))),
    )
    whole = {"gpu_id": "GPU-a", "hostname": "n1", **labels}
    assert shown[name][tuple(sorted(whole.items()))] == value
    assert all({label for label, _ in at} == GPU | labels.keys() for at in shown[name])
    assert types(MetricsSink())[name] == type


def test_a_total_of_all_links_is_no_link():
    shown = given((topics.OBSERVATIONS, (frames.KIND, "n1", frame(columns={fields.NVLINK_CRC_FLIT_TOTAL: [99.0]}))))
    assert "dcgm_nvlink_crc_errors_total" not in shown


def test_a_blank_has_no_series():
    blank = frame(columns={fields.GPU_TEMP: [None], fields.ECC_SBE_VOLATILE: [None]})
    shown = given((topics.OBSERVATIONS, (frames.KIND, "n1", blank)))
    assert not shown.keys() & {"dcgm_gpu_temperature_celsius", "dcgm_ecc_correctable_total"}


def group(condition=Condition.DEGRADED, action=GroupAction.SCHEDULE_MAINTENANCE, gb_per_s=300.0, **more):
    said = {"all_reduce_gb_per_s": gb_per_s, "expected_gb_per_s": 450.0, "model": "llama", "basis": "links", **more}
    return encode(
        records.GroupVerdict(
            ts=1, cluster="c", node="n1", group="g", gpus=["A", "B"], condition=condition, action=action, **said
        )
    )


def test_a_group_shows_the_share_of_its_bandwidth_and_what_to_do():
    shown = given((topics.GROUPS, ("group", "g", group())))
    at = (("group", "g"), ("model", "llama"))
    assert shown["gpu_vitals_group_bandwidth_ratio"] == {at: pytest.approx(2 / 3)}
    whole = (("action", "schedule-maintenance"), ("condition", "degraded"), *at)
    assert shown["gpu_vitals_group_action"] == {whole: 1}


def test_a_lost_group_has_none_of_its_bandwidth_and_an_unknown_one_no_series():
    lost = group(Condition.FAILED, GroupAction.REPLACE, 0.0, basis="lost", expected_gb_per_s=None)
    assert list(given((topics.GROUPS, ("group", "g", lost)))["gpu_vitals_group_bandwidth_ratio"].values()) == [0.0]
    unknown = given((topics.GROUPS, ("group", "g", group(Condition.UNKNOWN, GroupAction.MONITOR, None))))
    assert "gpu_vitals_group_bandwidth_ratio" not in unknown


def test_a_dissolved_group_has_no_series():
    shown = given((topics.GROUPS, ("group", "g", group()), ("tombstone", "g", b"")))
    assert not shown.keys() & {"gpu_vitals_group_bandwidth_ratio", "gpu_vitals_group_action"}


def test_brakes_show_storms_and_how_far_budgets_are_used():
    used = [
        records.BudgetUse(name=name, used=2, limit=limit)
        for name, limit in (("out", 5), ("steps", None), ("nodes out", 9), ("out rack r7", 2))
    ]
    hold = records.Standing(what="hold", scope="cluster", author="ann", since=1)
    said = records.Brakes(ts=1, cluster="c", storm=1, standing=[hold], budgets=used)
    shown = given((topics.BRAKES, ("brakes", "c", encode(said))))

    def values(name, label):
        return {dict(at)[label]: value for at, value in shown[name].items()}

    assert list(shown["gpu_vitals_storm_hold"].values()) == [1]
    assert values("gpu_vitals_budget_used", "budget") == {"out": 2, "steps": 2, "nodes out": 2}
    assert values("gpu_vitals_budget_limit", "budget") == {"out": 5, "nodes out": 9}
    assert values("gpu_vitals_operator_words", "what") == {"hold": 1, "drain": 0, "override": 0}


def test_an_unknown_gpu_has_no_score_but_is_counted():
    shown = given((topics.SCORES, ("score", "GPU-a", score(condition=Condition.UNKNOWN))))
    assert "dcgm_gpu_health_score" not in shown
    assert shown["gpu_vitals_gpus"][("condition", "unknown"),] == 1
    assert shown["gpu_vitals_gpus"][("condition", "healthy"),] == 0
    at = (("condition", "unknown"), ("gpu_id", "GPU-a"), ("hostname", "n1"))
    assert shown["gpu_vitals_gpu_condition"] == {at: 1}


def test_a_gpu_without_uuid_is_named_by_its_place():
    gpus = [Gpu(bdf="0000:18:00")]
    shown = given((topics.OBSERVATIONS, (frames.KIND, "n1", frame(columns={fields.GPU_TEMP: [40.0]}, gpus=gpus))))
    at = (("gpu_id", "n1/0000:18:00"), ("hostname", "n1"))
    assert shown["dcgm_gpu_temperature_celsius"] == {at: 40.0}


def test_a_tombstone_removes_the_gpu():
    shown = given((topics.SCORES, ("score", "GPU-a", score()), ("tombstone", "GPU-a", b"")))
    assert "dcgm_gpu_health_score" not in shown
    assert shown["gpu_vitals_gpus"][("condition", "healthy"),] == 0


def prediction(action, hours=30.0):
    return encode(
        records.Prediction(
            ts=1,
            cluster="c1",
            node="n1",
            uuid="GPU-a",
            model="default",
            action=action,
            hours=hours,
            confidence=0.75,
            errors_per_hour=25.0,
        )
    )


def test_a_prediction_is_shown_while_it_asks_for_something():
    at = (("action", "order-replacement"), ("gpu_id", "GPU-a"), ("hostname", "n1"))
    ordered = "prediction", "GPU-a", prediction(PredictionAction.ORDER_REPLACEMENT)
    shown = given((topics.PREDICTIONS, ordered))
    assert shown["gpu_vitals_prediction_hours"] == {at: 30.0}
    assert shown["gpu_vitals_prediction_confidence"] == {at: 0.75}
    for after in (("prediction", "GPU-a", prediction(PredictionAction.MONITOR)), ("tombstone", "GPU-a", b"")):
        shown = given((topics.PREDICTIONS, ordered, after))
        assert not [name for name in shown if name.startswith("gpu_vitals_prediction")]


def test_a_prediction_without_hours_has_only_its_confidence():
    shown = given((topics.PREDICTIONS, ("prediction", "GPU-a", prediction(PredictionAction.EVICT_NOW, hours=None))))
    assert [name for name in shown if name.startswith("gpu_vitals_prediction")] == ["gpu_vitals_prediction_confidence"]


def test_a_signal_nobody_has_heard_of_appears_by_itself_and_stays_at_zero():
    reason = Reason(signal="brand_new", level="warning", cap=0.7)
    sick = score(value=0.7, condition=Condition.WARNING, reasons=[reason])
    at = (("level", "warning"), ("signal", "brand_new"))
    assert given((topics.SCORES, ("score", "GPU-a", sick)))["gpu_vitals_signal_gpus"] == {at: 1}
    both = given((topics.SCORES, ("score", "GPU-a", sick), ("score", "GPU-a", score())))
    assert both["gpu_vitals_signal_gpus"] == {at: 0}


def test_a_case_counts_as_one_eviction_through_all_its_states():
    shown = given(
        (
            topics.EVICTIONS,
            ("eviction", "GPU-a", eviction("GPU-a", 5)),
            ("eviction", "GPU-a", eviction("GPU-a", 5, CaseState.DRAINED)),
            ("eviction", "GPU-a", eviction("GPU-a", 5, CaseState.IN_SERVICE)),
            ("eviction", "GPU-a", eviction("GPU-a", 9, fault="ecc")),
        )
    )
    assert sorted(shown["dynamo_gpu_eviction_total"].values()) == [1.0, 1.0]


def test_events_decisions_and_dead_letters_are_counted():
    shown = given(
        (topics.XIDS, ("xid", "n1", xid(79)), ("xid", "n1", xid(79)), ("xid", "n1", xid(None, "bus-loss"))),
        (topics.DECISIONS, ("decision", "GPU-a", b"{}"), ("tombstone", "GPU-a", b"")),
        (topics.DEAD_LETTER, ("dead-letter", "x", b"{}")),
    )
    assert shown["gpu_vitals_xid_events_total"] == {
        (("code", "79"), ("fault", "xid")): 2,
        (("code", ""), ("fault", "bus-loss")): 1,
    }
    assert shown["gpu_vitals_decisions_total"] == {(): 1}
    assert shown["gpu_vitals_dead_letters_total"] == {(): 1}


def test_what_was_corrected_is_the_sum_over_the_parts_of_the_node_stage():
    ticks = [records.Tick(ts=1, counts={"late": late, "missing": 0}) for late in (1, 2, 5)]
    origins = [Origin("node", partition, 0, 0) for partition in (0, 0, 1)]
    made = [
        Record(at, 1, "", "tick", encode(tick), origin)
        for at, (tick, origin) in enumerate(zip(ticks, origins, strict=True))
    ]
    sink = MetricsSink()
    asyncio.run(sink.apply(topics.FLEET_EVENTS, made))
    shown = samples(sink)["gpu_vitals_observations_corrected_total"]
    assert shown == {(("kind", "late"),): 7, (("kind", "missing"),): 0}


@pytest.mark.parametrize(("state", "up"), [("ok", 1.0), ("failing", 0.0), ("ended", None)])
def test_the_health_of_sources(state, up):
    at = (("node", "n1"), ("source", "kmsg"))
    shown = given((topics.OBSERVATIONS, ("source", "n1", status(state, lost=4))))
    assert shown.get("gpu_vitals_source_up", {}).get(at) == up
    assert shown["gpu_vitals_source_lost_total"] == {at: 4}


def test_stages_are_asked_at_each_collection():
    shown = given(stages=lambda: [StageStats("node", 10, 20, 3, 1, 7)])
    assert shown["gpu_vitals_stage_lag_records"] == {(("stage", "node"),): 7}
    assert shown["gpu_vitals_stage_restores_total"] == {(("stage", "node"),): 1}


def test_what_cannot_be_read_is_counted_and_costs_nothing_beside_it():
    shown = given((topics.SCORES, ("score", "GPU-x", b"{"), ("score", "GPU-a", score())))
    assert shown["gpu_vitals_metrics_unreadable_total"] == {(("topic", "scores"),): 1}
    assert shown["gpu_vitals_gpus"][("condition", "healthy"),] == 1


@pytest.mark.parametrize(
    ("topic", "values"),
    [
        (topics.OBSERVATIONS, [(frames.KIND, frame(seq)) for seq in (1, 2, 3)] + [("source", status("failing"))]),
        (topics.SCORES, [("score", score()), ("tombstone", b""), ("score", score(value=0.0))]),
        (topics.DECISIONS, [("decision", b"{}"), ("decision", b"{}")]),
        (topics.EVICTIONS, [("eviction", eviction("GPU-a", opened)) for opened in (1, 2, 3)]),
        (topics.XIDS, [("xid", xid(79)), ("xid", xid(48)), ("xid", b"{")]),
        (topics.DEAD_LETTER, [("dead-letter", b"{}"), ("dead-letter", b"{}")]),
    ],
)
def test_contract(topic, values):
    def make():
        sink = MetricsSink()
        return Probe(sink, sink.page)

    check_sink(make, topic, [Record(at, 1000, "GPU-a", kind, value) for at, (kind, value) in enumerate(values)])
