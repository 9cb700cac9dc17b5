"""`report` over recordings and data directories, in each of its forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import TOPICS

FLEET = Path(__file__).parents[3] / "docs/examples/fleet.jsonl"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(run: Run, tmp_path: Path) -> str:
    """Of a pipeline that has judged the example."""
    directory = str(tmp_path / "data")
    assert run("run", "--source", f"recording:{FLEET}", "--data-dir", directory)[0] == 0
    return directory


def as_json(run: Run, *args: str) -> dict[str, Any]:
    code, out, err = run("report", "--format", "json", *args)
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_recording_is_judged_and_reported_whole(run: Run) -> None:
    report = as_json(run, str(FLEET))
    assert report["fleet"]["gpus"] == 8
    assert (report["start"], report["end"]) == (1767603600000, 1767603695001)
    assert sum(band["hours"] for band in report["bands"]) == pytest.approx(8 * 89.3 / 3600, rel=0.02)
    assert {mode["mode"] for mode in report["modes"] if mode["count"]} == {
        "correctable ECC above threshold",
        "uncorrectable ECC",
        "complete failure",
    }
    assert [(alert["node"], alert["gpus"]) for alert in report["alerts"]["listed"]] == [("b1", 1), ("b2", 2)]
    assert [held["held_by"] for held in report["held"]] == ["budget"]


def test_a_data_directory_says_what_the_recording_says(run: Run, data_dir: str) -> None:
    of_log, of_recording = as_json(run, "--data-dir", data_dir), as_json(run, str(FLEET))
    for told in (of_log, of_recording):  # GPU-hours differ: a log's window begins with what was said first
        told["modes"] = [mode["count"] for mode in told["modes"]]
        told["alerts"]["per_day"] = told["fleet"]["gpu_days"] = None
    for part in ("fleet", "modes", "alerts", "xids", "held"):
        assert of_log[part] == of_recording[part]
    assert not of_recording["notes"]
    assert "not been compacted yet" in of_log["notes"][-1]


def test_the_window_can_be_chosen(run: Run) -> None:
    first = as_json(run, str(FLEET), "--to", "2026-01-05T09:00:30Z")
    assert first["alerts"]["count"] == 0
    assert first["fleet"]["gpus"] == 8
    last = as_json(run, str(FLEET), "--from", "20s")  # before the log's end, not before now
    assert last["end"] - last["start"] == 20_001
    assert [alert["node"] for alert in last["alerts"]["listed"]] == ["b2"]
    assert {band["condition"]: band["now"] for band in last["bands"]}["failed"] == 4


def test_a_table_for_people(run: Run) -> None:
    code, out, err = run("report", str(FLEET))
    assert (code, err) == (0, "")
    assert out.startswith("Fleet report: 8 GPUs on 4 nodes\n2026-01-05 09:00:00 to 2026-01-05 09:01:35 UTC")
    assert "Xid 48: double-bit ECC error" in out


def test_a_file_is_written_in_the_form_that_its_name_asks_for(run: Run, tmp_path: Path) -> None:
    code, out, err = run("report", str(FLEET), "-o", "report.html")
    assert (code, out) == (0, "")
    assert err.startswith("report.html: ")
    assert "records in" in err
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>\n<html")
    run("report", str(FLEET), "-o", "report.json")
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["fleet"]["gpus"] == 8


def test_another_policy_judges_otherwise(run: Run) -> None:
    assert as_json(run, str(FLEET), "--policy", "spec")["alerts"]["count"] > 0


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--data-dir", "nowhere"], "error: nowhere: holds no log"),
        ([], "error: {home}/gpu-vitals: holds no log"),
        ([str(FLEET), "--data-dir", "x"], "error: recordings and --data-dir exclude each other"),
        (["--bootstrap", "x:1", "--data-dir", "x"], "error: --data-dir and --bootstrap or --prefix exclude each other"),
        (["--policy", "spec"], "error: --policy is for recordings"),
        (["no.jsonl"], "error: no.jsonl: cannot read the recording: No such file or directory"),
        ([str(FLEET), "--from", "2030-01-01"], "error: the window ends before it begins"),
        ([str(FLEET), "--from", "soon"], "error: --from: not a time: soon"),
        ([str(FLEET), "-o", "no/such/folder.html"], "error: no/such/folder.html: cannot write: no such file"),
    ],
)
def test_what_cannot_be_reported_is_one_line(run: Run, tmp_path: Path, args: list[str], expected: str) -> None:
    code, out, err = run("report", *args)
    assert (code, out) == (2, "")
    assert err.startswith(expected.format(home=tmp_path / "home"))


def test_an_empty_log_says_that_nothing_was_judged(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    code, _, err = run("report", "empty.jsonl")
    assert code == 2
    assert "nothing has been judged there yet" in err


def test_incidents_are_reported_as_soon_as_there_is_such_a_topic(run: Run) -> None:
    assert as_json(run, str(FLEET))["incidents_known"] is ("incidents" in TOPICS)
