"""`dcgmi diag -j` of both generations, written from the grammar of the tools' JSON schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.diagnostic import Run, parse

LEVEL_2 = ("software", "memory", "pcie")
LEVEL_3 = (*LEVEL_2, "diagnostic", "targeted_stress", "targeted_power", "nvbandwidth")
LEVEL_4 = (*LEVEL_3, "memtest", "pulse_test")


def dcgm4(*names: str, bad: dict[str, dict[str, Any]] | None = None, gpus: int = 2) -> dict[str, Any]:
    """A run of these tests; `bad`: what GPU 1 answers instead of Pass."""

    def result(name: str, gpu: int) -> dict[str, Any]:
        own = (bad or {}).get(name, {}) if gpu == 1 else {}
        return {"entity_group": "GPU", "entity_group_id": 1, "entity_id": gpu, "status": "Pass", **own}

    tests = [
        {
            "name": name,
            "results": [result(name, gpu) for gpu in range(gpus)],
            "test_summary": {"status": "Pass"},
        }
        for name in names
    ]
    entities = [{"entity_id": gpu, "device_id": "2330", "serial_num": f"16500{gpu}"} for gpu in range(gpus)]
    return {
        "DCGM Diagnostic": {"test_categories": [{"category": "Hardware", "tests": tests}]},
        "entity_groups": [{"entity_group": "GPU", "entity_group_id": 1, "entities": entities}],
        "metadata": {"version": "4.6.0"},
    }


def dcgm3(statuses: dict[str, str], category: str = "Hardware") -> dict[str, Any]:
    tests: list[Any] = []
    for name, status in statuses.items():
        tests += [{"name": name, "results": [{"gpu_id": "0", "status": status}]}, None]  # as some releases print it
    deployment = {
        "category": "Deployment",
        "tests": [{"name": "Denylist", "results": [{"gpu_ids": "0,1", "status": "PASS"}]}],
    }
    return {
        "DCGM GPU Diagnostic": {
            "test_categories": [deployment, {"category": category, "tests": tests}],
            "version": "3.3.9",
            "GPU Device IDs": ["2330", "2330"],
            "GPU Device Serials": {"0": "165000", "1": "165001"},
        }
    }


def run(document: dict[str, Any], level: int | None = None) -> Run:
    return parse(json.dumps(document), level)


def results(found: Run) -> list[tuple[int, str, int, str]]:
    return [(gpu.number, gpu.serial, gpu.level, gpu.result) for gpu in found.gpus]


@pytest.mark.parametrize(
    ("names", "level"),
    [(("software",), 1), (LEVEL_2, 2), (LEVEL_3, 3), (LEVEL_4, 4), (("memory",), 0), (("software", "memory"), 1)],
)
def test_the_level_is_what_ran(names: tuple[str, ...], level: int) -> None:
    assert results(run(dcgm4(*names))) == [(0, "165000", level, "pass"), (1, "165001", level, "pass")]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({}, "pass"),
        ({"memory": {"status": "Fail"}}, "fail"),
        ({"pcie": {"status": "Warn"}}, "warn"),
        ({"pcie": {"status": "Skip"}}, "incomplete"),
        ({"pcie": {"status": "Never heard of"}}, "incomplete"),
        ({"pcie": {"status": "Warn"}, "memory": {"status": "Skip"}}, "incomplete"),
        ({"pcie": {"status": "Skip"}, "memory": {"status": "Fail"}}, "fail"),
    ],
)
def test_a_gpu_counts_by_its_worst_test_and_by_what_is_missing(bad: Any, expected: str) -> None:
    found = run(dcgm4(*LEVEL_2, bad=bad), 2)
    assert [gpu.result for gpu in found.gpus] == ["pass", expected]
    assert {gpu.level for gpu in found.gpus} == {2}


def test_a_run_whose_plugins_are_missing_proves_nothing() -> None:
    """DCGM leaves their tests out and ends with exit status 0."""
    assert [gpu.result for gpu in run(dcgm4("software"), 2).gpus] == ["incomplete", "incomplete"]


def test_findings_come_with_their_numbers_and_words() -> None:
    warning = {"warning": "Found 3 faulty memory elements", "error_id": 52, "error_category": 10, "error_severity": 2}
    found = run(dcgm4(*LEVEL_2, bad={"memory": {"status": "Fail", "warnings": [warning, "no number"]}}))
    (test,) = [test for test in found.gpus[1].tests if test.name == "memory"]
    assert (test.result, test.codes, test.text) == ("fail", [52], "Found 3 faulty memory elements; no number")


def test_the_older_layout_says_the_same() -> None:
    found = run(dcgm3({"GPU Memory": "PASS", "PCIe": "Fail"}))
    assert results(found) == [(0, "165000", 2, "fail"), (1, "165001", 1, "pass")]
    assert results(run(dcgm3({"GPU Memory": "Pass", "PCIe": "SKIPPED"}), 2))[0][3] == "incomplete"


def test_what_is_printed_before_the_json_is_passed_over() -> None:
    text = "Error: unable to establish a connection to the specified host: localhost\n" + json.dumps(dcgm4("software"))
    assert len(parse(text + "\n").gpus) == 2


def test_other_entities_are_no_gpus() -> None:
    document = dcgm4("software")
    document["entity_groups"].append(
        {"entity_group": "CPU", "entity_group_id": 7, "entities": [{"entity_id": 5, "device_id": ""}]}
    )
    results_ = document["DCGM Diagnostic"]["test_categories"][0]["tests"][0]["results"]
    results_.append({"entity_group": "CPU", "entity_group_id": 7, "entity_id": 5, "status": "Fail"})
    assert [(gpu.number, gpu.result) for gpu in run(document).gpus] == [(0, "pass"), (1, "pass")]


def test_a_test_that_fails_before_it_comes_to_any_gpu_fails_for_all() -> None:
    document = dcgm4(*LEVEL_2)
    test = document["DCGM Diagnostic"]["test_categories"][0]["tests"][1]
    test["results"], test["test_summary"] = [], {"status": "Fail", "warnings": [{"warning": "x", "error_id": 51}]}
    assert [gpu.result for gpu in run(document).gpus] == ["fail", "fail"]


def test_a_diagnostic_that_did_not_run_says_why() -> None:
    assert run({"DCGM Diagnostic": {"runtime_error": "Diag already running", "version": "4.6.0"}}) == Run(
        [], "Diag already running"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no JSON"),
        ("plain text", "holds no JSON"),
        ('{"DCGM Diagnostic": ', "is broken"),
        ("{}", "neither of the keys"),
        ('{"DCGM Diagnostic": 3}', "neither of the keys"),
    ],
)
def test_what_is_no_diagnostic_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        parse(text)
    assert "\n" not in str(error.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "test_categories",
                    "tests",
                    "results",
                    "name",
                    "status",
                    "entity_id",
                    "gpu_ids",
                    "warnings",
                    "error_id",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(root=anything, groups=anything, name=st.sampled_from(["DCGM Diagnostic", "DCGM GPU Diagnostic"]))
def test_whatever_stands_there_is_read_or_refused(root: Any, groups: Any, name: str) -> None:
    try:
        found = run({name: root, "entity_groups": groups}, 2)
    except ValueError:
        return
    assert all(gpu.result in ("pass", "warn", "fail", "incomplete") for gpu in found.gpus)
