"""`explain` on a recording, on a data directory, and over HTTP beside the pipeline that writes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from pipeline.explain import explainer
from pipeline.sqlite_history import SqliteHistory
from pipeline.sqlite_log import SqliteLog
from sinks.explain_http import ExplainPages
from sinks.http import Request

FLEET = Path(__file__).parents[3] / "docs/examples/fleet.jsonl"
B1 = "GPU-b1000000-0000-4000-8000-000000000000"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data_dir(run: Run, tmp_path: Path) -> Path:
    """Of a pipeline that has judged the example."""
    directory = tmp_path / "data"
    assert run("run", "--source", f"recording:{FLEET}", "--data-dir", str(directory))[0] == 0
    return directory


def as_json(run: Run, *args: str) -> dict[str, Any]:
    code, out, err = run("explain", "--json", *args)
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_double_bit_error_is_explained(run: Run) -> None:
    told = as_json(run, "GPU-b1000", "--recording", str(FLEET))
    assert told["because"] == "weight 0: its case is drained: Xid 48: double-bit ECC error"
    assert (told["gpu"]["node"], told["gpu"]["model"]) == ("b1", "NVIDIA H100 80GB HBM3")
    first, second = told["score"]["findings"]
    assert (first["signal"], first["decides"], second["signal"], second["limits"]) == (
        "xid",
        True,
        "uncorrectable_ecc",
        {"critical": 1.0, "evict": 3.0},
    )
    assert [(xid["code"], xid["response"]) for xid in told["xids"]] == [(48, "evict")]
    assert told["cases"][0]["cause"] == "Xid 48: double-bit ECC error"
    assert [change["topic"] for change in told["timeline"]][-3:] == ["xids", "decisions", "scores"]
    assert "not_kept" not in told  # a recording forgets nothing


def test_a_gpu_is_named_by_its_place_too(run: Run) -> None:
    silent = as_json(run, "b2/0000:1b:00", "--recording", str(FLEET))
    assert silent["gpu"]["uuid"] == "GPU-b2000000-0000-4000-8000-000000000000"
    assert silent["score"]["findings"][0]["settings"]["failed_after_s"] == 60.0
    assert silent["presence"]["heard"] == 1767603620000


def test_a_data_directory_says_the_same_and_what_it_may_have_forgotten(run: Run, data_dir: Path) -> None:
    of_log = as_json(run, B1, "--data-dir", str(data_dir))
    of_recording = as_json(run, B1, "--recording", str(FLEET))
    assert "xids older than 30 days" in of_log.pop("not_kept")
    for told in (of_log, of_recording):
        told.pop("source")
    assert of_log == of_recording


def test_for_people(run: Run) -> None:
    code, out, err = run("explain", "a2/0000:9b:00", "--recording", str(FLEET))
    assert (code, err) == (0, "")
    assert "weight 0.7: it would be taken out (evict), which is held back by budget" in out
    assert "warning > 10 errors/h caps at 0.7, critical > 100 errors/h caps at 0.3" in out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GPU-b", "error: GPU-b may be any of 4 GPUs\n  help: GPU-b1000000"),
        ("GPU-never-seen", "error: no such GPU: GPU-never-seen\n  help: "),
        ("b1/0000:ff:00", "error: no such GPU: b1/0000:ff:00\n  help: on b1 there are GPU-b1000000"),
    ],
)
def test_a_gpu_that_nobody_knows_is_one_line(run: Run, name: str, expected: str) -> None:
    code, out, err = run("explain", name, "--recording", str(FLEET))
    assert (code, out) == (2, "")
    assert err.startswith(expected)
    assert len(err.splitlines()) == 2


def test_what_stands_beside_the_gpu_is_told_its_option(run: Run) -> None:
    assert f"help: gpu-vitals explain {B1} --recording {FLEET}\n" in run("explain", B1, str(FLEET))[2]
    assert "help: one GPU at a time\n" in run("explain", B1, "GPU-2")[2]


def test_the_text_of_a_policy_of_ones_own_is_found_in_the_log(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[signals.correctable_ecc.limits]\nwarning = 5.0\ncritical = 90.0\n")
    directory = str(tmp_path / "data")
    run("run", "--source", f"recording:{FLEET}", "--data-dir", directory, "--policy", "mine.toml")
    told = as_json(run, "a2/0000:9b:00", "--data-dir", directory)
    assert told["decision"]["policy"].startswith("mine@")
    assert told["score"]["findings"][0]["limits"]["critical"] == 90.0


def test_the_page_says_what_the_command_says_while_the_log_is_open(run: Run, data_dir: Path) -> None:
    log = SqliteLog(data_dir)
    try:
        pages = ExplainPages(lambda: (b"", ""), dict, dict, explainer(lambda: SqliteHistory(data_dir)))
        answer = pages.answer(Request(f"/v1/gpus/{B1}/explain"))
        assert answer.status is HTTPStatus.OK
        assert json.loads(b"".join(answer.body)) == as_json(run, B1, "--data-dir", str(data_dir))
        by_place = pages.answer(Request("/v1/gpus/b1/0000:1b:00/explain", {"format": ["text"]}))
        assert b"".join(by_place.body).startswith(f"{B1} on b1 at 0000:1b:00\n".encode())
        unknown = pages.answer(Request("/v1/gpus/zzz/explain"))
        assert unknown.status is HTTPStatus.NOT_FOUND
        assert "no such GPU: zzz" in json.loads(b"".join(unknown.body))["why"]
        assert pages.answer(Request("/v1/gpus/explain")).status is HTTPStatus.NOT_FOUND
        assert pages.answer(Request("/healthz")).status is HTTPStatus.OK
    finally:
        asyncio.run(log.close())


def test_a_log_that_cannot_be_read_is_an_answer_too(tmp_path: Path) -> None:
    pages = ExplainPages(lambda: (b"", ""), dict, dict, explainer(lambda: SqliteHistory(tmp_path)))
    answer = pages.answer(Request("/v1/gpus/GPU-1/explain"))
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert "holds no log" in json.loads(b"".join(answer.body))["why"]
