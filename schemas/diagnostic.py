"""What `dcgmi diag -j` prints, of DCGM 3 and of DCGM 4, as results per GPU. Pure.

DCGM 4: root key `DCGM Diagnostic`, results per entity, serial numbers under `entity_groups`. DCGM 3: root key `DCGM
GPU Diagnostic`, results per `gpu_id` (or a list of them, `gpu_ids`), serial numbers under `GPU Device Serials`. Both
may print lines of text before the JSON. Neither tells the level that was asked for: a run whose plugins are missing
ends as if all were well, so the level is either given, or what the tests that ran amount to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas.records import DiagnosticTest

ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")
GPU = 1  # DCGM's kind of entity
LEVELS = (1, 2, 3, 4)
# What each level adds; of names in one tuple any will do. Level 1 looks at the software alone, under many names.
PROMISED: dict[int, tuple[tuple[str, ...], ...]] = {
    2: (("memory", "gpu_memory"), ("pcie",)),
    3: (
        ("diagnostic", "sm_stress"),
        ("targeted_stress",),
        ("targeted_power",),
        ("memory_bandwidth", "nvbandwidth"),
    ),
    4: (("memtest",), ("pulse_test", "pulse")),
}
RESULTS = {"pass": "pass", "fail": "fail", "warn": "warn", "skip": "skip", "skipped": "skip"}
TEXT_MAX = 500
GRAVITY = ("skip", "pass", "warn", "fail")


class GpuResult(NamedTuple):
    """number: DCGM's of the GPU. serial: empty where the output does not tell it. result, level, tests: see
    `schemas.records.Diagnostic`.
    """

    number: int
    serial: str
    level: int
    result: str
    tests: list[DiagnosticTest]


class Run(NamedTuple):
    """error: why the diagnostic did not run at all, in its own words; else empty."""

    gpus: list[GpuResult]
    error: str = ""


def parse(text: str, level: int | None = None) -> Run:
    """What the output says. level: the one that was asked for (`-r`), if known.

    Raises ValueError: this is no such output.
    """
    document = _document(text)
    name = next((root for root in ROOTS if isinstance(document.get(root), dict)), None)
    if name is None:
        raise ValueError(f"this is no output of `dcgmi diag -j`: it has neither of the keys {' and '.join(ROOTS)}")
    root = document[name]
    error = root.get("runtime_error")
    if error:
        return Run([], str(error)[:TEXT_MAX])
    serials = _serials(document, root)
    tests: dict[int, dict[str, DiagnosticTest]] = {number: {} for number in serials}
    deployed: set[int] = set()
    for category, test, number, result in _results(root, list(serials)):
        own = tests.setdefault(number, {})
        before = own.get(test)
        own[test] = result if before is None else _merged(before, result)
        if category.lower() == "deployment" and result.result != "skip":
            deployed.add(number)
    return Run(
        [
            _gpu(number, serials.get(number, ""), list(own.values()), level, number in deployed)
            for number, own in sorted(tests.items())
        ]
    )


def _document(text: str) -> dict[str, Any]:
    start = text.find("{")
    if start < 0:
        raise ValueError("this is no output of `dcgmi diag -j`: it holds no JSON")
    try:
        document, _ = json.JSONDecoder().raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the JSON of this diagnostic is broken: {error}") from error
    return document if isinstance(document, dict) else {}


def _serials(document: dict[str, Any], root: dict[str, Any]) -> dict[int, str]:
    """Serial number by DCGM's number of the GPU, for all that are listed."""
    found: dict[int, str] = {}
    for group in _dicts(document.get("entity_groups")):
        if group.get("entity_group_id") == GPU:
            for entity in _dicts(group.get("entities")):
                number = _number(entity.get("entity_id"))
                if number is not None:
                    found[number] = str(entity.get("serial_num") or "")
    older = root.get("GPU Device Serials")
    if isinstance(older, dict):
        found |= {int(number): str(serial) for number, serial in older.items() if str(number).isdecimal()}
    return found


def _results(root: dict[str, Any], listed: list[int]) -> Iterator[tuple[str, str, int, DiagnosticTest]]:
    """(category, test, GPU, result), as they stand."""
    for category in _dicts(root.get("test_categories")):
        for test in _dicts(category.get("tests")):
            name = str(test.get("name") or "")
            said = _dicts(test.get("results"))
            told = [(number, result) for result in said for number in _gpus_of(result)]
            if not said and isinstance(test.get("test_summary"), dict):  # it ended before it came to any GPU
                told = [(number, test["test_summary"]) for number in listed]
            for number, result in told:
                status = RESULTS.get(str(result.get("status", "")).strip().lower())
                if status and name:
                    yield str(category.get("category", "")), name, number, _test(name, status, result)


def _gpus_of(result: dict[str, Any]) -> list[int]:
    if "entity_id" in result:
        number = _number(result["entity_id"])
        return [number] if number is not None and result.get("entity_group_id", GPU) == GPU else []
    older = str(result.get("gpu_id", result.get("gpu_ids", "")))
    return [int(number) for number in older.split(",") if number.strip().isdecimal()]


def _test(name: str, status: str, result: dict[str, Any]) -> DiagnosticTest:
    warnings = result.get("warnings")
    told = warnings if isinstance(warnings, list) else [warnings] if warnings else []
    codes = [_number(one.get("error_id")) for one in told if isinstance(one, dict)]
    texts = [str(one.get("warning", "")) if isinstance(one, dict) else str(one) for one in told]
    return DiagnosticTest(
        name=name,
        result=status,
        codes=[code for code in codes if code],
        text="; ".join(filter(None, texts))[:TEXT_MAX],
    )


def _merged(one: DiagnosticTest, other: DiagnosticTest) -> DiagnosticTest:
    """A test that ran several times counts by its worst run."""
    worst = max(one, other, key=lambda test: GRAVITY.index(test.result))
    text = "; ".join(filter(None, (one.text, other.text)))[:TEXT_MAX]
    return DiagnosticTest(name=one.name, result=worst.result, codes=one.codes + other.codes, text=text)


def _gpu(number: int, serial: str, tests: list[DiagnosticTest], level: int | None, deployed: bool) -> GpuResult:
    results = {test.result for test in tests}
    reached = _reached(tests, deployed)
    if "fail" in results:
        result = "fail"
    elif (level is not None and reached < level) or not results & {"pass", "warn"}:
        result = "incomplete"
    else:
        result = "warn" if "warn" in results else "pass"
    return GpuResult(number, serial, reached if level is None else level, result, tests)


def _reached(tests: list[DiagnosticTest], deployed: bool) -> int:
    """The highest level of which everything ran; 0: not even the first."""
    ran = {test.name.lower().replace(" ", "_") for test in tests if test.result != "skip"}
    reached = int(deployed or "software" in ran)
    for level, promised in PROMISED.items():
        if reached == level - 1 and all(ran & set(names) for names in promised):
            reached = level
    return reached


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
