from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.exporter_page import Reading, frame_of, read_page
from producers.prometheus_text import parse
from schemas import fields
from schemas.fields import BY_NAME, FIELDS, Kind

A = 'gpu="0",UUID="GPU-a",pci_bus_id="00000000:1B:00.0",modelName="NVIDIA H100 80GB HBM3",Hostname="n1"'
B = A.replace("GPU-a", "GPU-b").replace("1B", "2C")


def read(*lines: str, cut: bool = False) -> Reading:
    return read_page(parse("\n".join(lines)), node="given", cut=cut)


def value(reading: Reading, field: int, uuid: str = "GPU-a", node: str = "n1") -> float | None:
    return reading.nodes[node][uuid].values[field]


def test_identity_comes_from_the_labels() -> None:
    reading = read(f'DCGM_FI_DEV_GPU_TEMP{{{A},DCGM_FI_DRIVER_VERSION="580.82.07"}} 40')
    info = reading.nodes["n1"]["GPU-a"].info
    assert (info.uuid, info.bdf, info.model, info.mig) == ("GPU-a", "0000:1b:00", "NVIDIA H100 80GB HBM3", False)
    assert reading.drivers == {"n1": "580.82.07"}


def test_older_and_newer_labels_are_known_and_a_missing_host_is_the_given_node() -> None:
    reading = read(
        'DCGM_FI_DEV_GPU_TEMP{gpu="0",uuid="GPU-a",hostname="n2"} 40', 'DCGM_FI_DEV_GPU_TEMP{UUID="GPU-b"} 41'
    )
    assert {node: list(rows) for node, rows in reading.nodes.items()} == {"n2": ["GPU-a"], "given": ["GPU-b"]}


@pytest.mark.parametrize("field", [field for field in FIELDS.values() if field.kind in (Kind.GAUGE, Kind.COUNTER)])
def test_fields_are_known_by_both_names(field: fields.Field) -> None:
    for name in (field.name, field.new_name):
        assert value(read(f"{name}{{{A}}} 7"), field.id) == 7


@pytest.mark.parametrize(
    "number",
    [
        "9223372036854775794",
        "9223372036854775792",
        "140737488355328",
        "2147483632",
        "2147483635",
        "NaN",
        "+Inf",
        "-Inf",
    ],
)
def test_sentinels_are_blank(number: str) -> None:
    assert value(read(f"DCGM_FI_DEV_MEMORY_TEMP{{{A}}} {number}"), fields.MEMORY_TEMP) is None


def test_a_counter_may_pass_the_sentinel_of_smaller_integers() -> None:
    assert value(read(f"DCGM_FI_DEV_PCIE_REPLAY_COUNTER{{{A}}} 2147483632"), 202) is None
    assert value(read(f"DCGM_FI_DEV_PCIE_REPLAY_COUNTER{{{A}}} 2147483636"), 202) == 2147483636


def test_a_gpu_that_lacks_a_field_is_blank_there() -> None:
    reading = read(
        f"DCGM_FI_DEV_GPU_TEMP{{{A}}} 40", f"DCGM_FI_DEV_GPU_TEMP{{{B}}} 41", f"DCGM_FI_DEV_SM_CLOCK{{{B}}} 345"
    )
    frame = frame_of(reading.nodes["n1"].values(), reading.fields, node="n1", cluster="c", ts=1)
    columns = dict(frame.columns())
    assert columns[150] == [40, 41]
    assert math.isnan(columns[100][0])
    assert columns[100][1] == 345


def test_an_index_without_uuid_is_nobodys_and_harms_no_neighbour() -> None:
    reading = read(
        'DCGM_FI_DEV_GPU_TEMP{gpu="0"} 99', f"DCGM_FI_DEV_GPU_TEMP{{{A}}} 40", 'DCGM_FI_DEV_GPU_TEMP{UUID=""} 98'
    )
    assert reading.unidentified == 2
    assert value(reading, 150) == 40


def test_metrics_of_others_are_passed_over() -> None:
    reading = read("go_goroutines 7", f"DCGM_FI_PROF_SM_ACTIVE{{{A}}} 0.5", f"DCGM_FI_DEV_GPU_TEMP{{{A}}} 40")
    assert (reading.fields, reading.unidentified) == ([150], 0)


def instance(id: int) -> str:
    return f'{A},GPU_I_PROFILE="1g.10gb",GPU_I_ID="{id}"'


def test_values_of_mig_instances_are_not_the_gpus() -> None:
    reading = read(
        f"DCGM_FI_DEV_GPU_TEMP{{{A}}} 40",
        f"DCGM_FI_DEV_GPU_TEMP{{{instance(7)}}} 50",
        f"DCGM_FI_DEV_POWER_USAGE{{{instance(7)}}} 100",
        f"DCGM_FI_DEV_POWER_USAGE{{{instance(8)}}} 200",
    )
    row = reading.nodes["n1"]["GPU-a"]
    assert row.values == {150: 40}
    assert row.info.mig


def test_what_all_instances_say_alike_is_true_of_the_gpu() -> None:
    reading = read(f"DCGM_FI_DEV_GPU_TEMP{{{instance(7)}}} 50", f"DCGM_FI_DEV_GPU_TEMP{{{instance(8)}}} 50")
    assert value(reading, 150) == 50


def test_of_a_cut_page_the_last_metric_is_left_out() -> None:
    lines = (f"DCGM_FI_DEV_SM_CLOCK{{{A}}} 345", f"DCGM_FI_DEV_SM_CLOCK{{{B}}} 345", f"DCGM_FI_DEV_GPU_TEMP{{{A}}} 40")
    reading = read(*lines, cut=True)
    assert reading.fields == [100]
    assert list(reading.nodes["n1"]) == ["GPU-a", "GPU-b"]


@given(st.lists(st.tuples(st.sampled_from(sorted(BY_NAME)), st.sampled_from([A, B, instance(1)]), st.floats())))
def test_only_what_the_page_says_becomes_a_value(lines: list[tuple[str, str, float]]) -> None:
    words = {math.inf: "+Inf", -math.inf: "-Inf"}
    text = [
        f"{name}{{{labels}}} {'NaN' if number != number else words.get(number, repr(number))}"
        for name, labels, number in lines
    ]
    said = {(BY_NAME[name].id, number) for name, _, number in lines}
    for rows in read(*text).nodes.values():
        for row in rows.values():
            assert {(id, number) for id, number in row.values.items() if number is not None} <= said
