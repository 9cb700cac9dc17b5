from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from pipeline.commands.simulate import command
from pipeline.errors import UsageProblem
from producers.faults import FAILURE_MODES, Injected
from producers.fleet import Fleet
from producers.kit import check_source
from producers.recording import RecordingSource


def simulate(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def truth(path: Path) -> list[Injected]:
    return [msgspec.json.decode(line, type=Injected) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("name", ["fleet.jsonl", "fleet.jsonl.zst"])
def test_the_recording_holds_what_the_fleet_says_and_the_truth_stands_beside_it(tmp_path: Path, name: str) -> None:
    result = simulate("--gpus", 20, "--for", "2m", "--seed", 5, "--out", tmp_path / name)
    assert result.exit_code == 0, result.output
    fleet = Fleet(20, seed=5)
    said = [observed for _ in range(120) for observed in fleet.advance()]
    assert check_source(lambda: RecordingSource(tmp_path / name)) == said
    assert truth(tmp_path / "fleet.truth.jsonl") == fleet.truth != []
    assert f"{len(said)} records of 20 GPUs" in result.output


def test_equal_options_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        simulate("--gpus", 8, "--for", "90s", "--faults", 1000, "--out", tmp_path / f"{name}.jsonl.zst")
    assert (tmp_path / "a.jsonl.zst").read_bytes() == (tmp_path / "b.jsonl.zst").read_bytes()
    assert (tmp_path / "a.truth.jsonl").read_bytes() == (tmp_path / "b.truth.jsonl").read_bytes()


def test_faults_can_be_left_out_and_multiplied(tmp_path: Path) -> None:
    options = ("--gpus", 64, "--for", "1m", "--no-opening", "--out", tmp_path / "r.jsonl")
    simulate(*options, "--faults", 0)
    assert truth(tmp_path / "r.truth.jsonl") == []
    simulate(*options, "--faults", 1_000_000)
    assert len(truth(tmp_path / "r.truth.jsonl")) > len(FAILURE_MODES)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--for", "soon"), "not a duration: soon"),
        (("--for", "0s"), "--for: from 1 second to a year"),
        (("--out", "/nowhere/r.jsonl"), "/nowhere/r.jsonl: cannot write: No such file or directory"),
    ],
)
def test_a_problem_is_one_clear_line(tmp_path: Path, options: tuple[str, str], why: str) -> None:
    result = simulate("--gpus", 8, "--for", "1s", "--out", tmp_path / "r.jsonl", *options)
    assert isinstance(result.exception, UsageProblem)
    assert why in str(result.exception)
