from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producers import diagnostic
from producers.diagnostic import DiagnosticFile
from producers.kit import check_source
from producers.source import SourceError
from schemas import records
from tests.producers.nvml.double import Nvml
from tests.schemas.test_diagnostic import LEVEL_2, dcgm3, dcgm4

TS = 1_767_225_600_000
LIST = """\
165000, GPU-aaaa, 00000000:1A:00.0
165001, GPU-bbbb, 00000000:2A:00.0
"""


def written(folder: Path, document: Any, listed: str | None = LIST) -> Path:
    path = folder / "node7.json"
    path.write_text(json.dumps(document), "utf-8")
    os.utime(path, ns=(TS * 1_000_000,) * 2)
    if listed is not None:
        (folder / "node7.json.gpus").write_text(listed, "utf-8")
    return path


def read(target: str | Path, **options: Any) -> tuple[list[records.Diagnostic], list[records.SourceStatus]]:
    said = check_source(lambda: DiagnosticFile(str(target), **options))
    types: dict[str, Any] = {"diagnostic": records.Diagnostic, "source": records.SourceStatus}
    told = [msgspec.json.decode(observed.value, type=types[observed.kind]) for observed in said]
    assert all(observed.node == one.node for observed, one in zip(said, told, strict=True))
    found = [one for one in told if isinstance(one, records.Diagnostic)]
    return found, [one for one in told if isinstance(one, records.SourceStatus)]


@pytest.mark.parametrize("document", [dcgm4(*LEVEL_2), dcgm3({"GPU Memory": "Pass", "PCIe": "Pass"})])
def test_each_gpu_is_named_by_its_serial_number(tmp_path: Path, document: Any) -> None:
    told, statuses = read(written(tmp_path, document))
    assert [(one.uuid, one.bdf, one.node) for one in told] == [
        ("GPU-aaaa", "0000:1a:00", "node7"),
        ("GPU-bbbb", "0000:2a:00", "node7"),
    ]
    assert (told[0].level, told[0].result, told[0].tool) == (2, "pass", "dcgmi diag")
    assert statuses == []


def test_it_ended_when_the_file_was_written_and_began_no_longer_before_than_such_a_run_takes(tmp_path: Path) -> None:
    (told, *_), _ = read(written(tmp_path, dcgm4(*LEVEL_2)))
    assert (told.ts, told.started) == (TS, TS - 600_000)


def test_the_level_that_was_asked_for_may_be_told(tmp_path: Path) -> None:
    path = written(tmp_path, dcgm4("software"))
    assert [one.result for one in read(path)[0]] == ["pass", "pass"]
    assert [(one.result, one.level) for one in read(f"2@{path}")[0]] == [("incomplete", 2)] * 2


def test_a_gpu_that_nobody_can_name_is_told_of_and_the_others_are_not_lost(tmp_path: Path) -> None:
    path = written(tmp_path, dcgm4(*LEVEL_2), LIST.splitlines()[0])
    told, (status,) = read(path)
    assert [one.uuid for one in told] == ["GPU-aaaa"]
    assert status.state == "failing"
    assert "GPU 1 (serial 165001)" in status.detail
    assert "nvidia-smi --query-gpu=serial,uuid,pci.bus_id" in status.detail


def test_boards_with_several_gpus_do_not_tell_them_apart(tmp_path: Path) -> None:
    told, (status,) = read(written(tmp_path, dcgm4(*LEVEL_2), LIST.replace("165001", "165000")))
    assert told == []
    assert "GPU 0 (serial 165000), GPU 1" in status.detail


def test_the_only_gpu_needs_no_serial_number(tmp_path: Path) -> None:
    document = dcgm4(*LEVEL_2, gpus=1)
    document["entity_groups"] = []
    told, _ = read(written(tmp_path, document, ", GPU-aaaa, 00000000:1A:00.0"))
    assert [one.uuid for one in told] == ["GPU-aaaa"]


def test_without_a_list_the_driver_of_this_machine_says_who_is_who(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = Nvml(2)
    monkeypatch.setattr(diagnostic, "load", lambda: nvml)
    nvml.nvmlInit()
    serials = [nvml.nvmlDeviceGetSerial(nvml.nvmlDeviceGetHandleByIndex(number)) for number in range(2)]
    nvml.nvmlShutdown()
    document = dcgm4(*LEVEL_2)
    for entity, serial in zip(document["entity_groups"][0]["entities"], reversed(serials), strict=True):
        entity["serial_num"] = serial
    told, _ = read(written(tmp_path, document, None), node="n1")
    assert [(one.uuid, one.node) for one in told] == [(nvml.gpus[1].uuid, "n1"), (nvml.gpus[0].uuid, "n1")]
    assert nvml.opened == 0


def test_a_diagnostic_that_did_not_run_is_a_failing_source(tmp_path: Path) -> None:
    told, (status,) = read(written(tmp_path, {"DCGM Diagnostic": {"runtime_error": "Diag already running"}}))
    assert (told, status.detail) == ([], "the diagnostic did not run: Diag already running")


def test_times_are_the_files_where_it_owns_the_clock(tmp_path: Path) -> None:
    path = written(tmp_path, dcgm4(*LEVEL_2))
    assert {one.ts for one in check_source(lambda: DiagnosticFile(str(path), own_clock=True))} == {TS}


@pytest.mark.parametrize("text", [None, "no JSON", '{"a": 1}'])
def test_what_cannot_be_read_is_one_line_that_names_the_file(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "diag.json"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(SourceError, match=r"diag\.json: ") as error:
        asyncio.run(DiagnosticFile(str(path)).read())
    assert "\n" not in str(error.value)
