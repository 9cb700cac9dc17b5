"""A replay says the same every time, and proves or disproves what a recording says came out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.log import Entry
from pipeline.policies import load
from pipeline.recorder import Recorder
from pipeline.recording_file import Recordings
from pipeline.replay import Check, drive, replay
from pipeline.runner import run_task
from pipeline.sqlite_log import SqliteLog
from pipeline.topology import STAGES, Stage
from processors.node import NodeTask
from processors.policy import to_change
from schemas import records
from schemas.log import Output, Record
from schemas.recording import Digest, RunningDigest

START = 1_767_225_600_000
GPUS = [{"uuid": "GPU-1", "bdf": "0000:01:00"}, {"uuid": "GPU-2", "bdf": "0000:02:00"}]


def line(at_s: int, kind: str, **more: Any) -> bytes:
    ts = START + 1000 * at_s
    value = {"kind": kind, "ts": ts, "node": "n1"} | more
    return json.dumps({"ts": ts, "node": "n1", "kind": kind, "value": value}).encode() + b"\n"


def frame(at_s: int, temperatures: list[int]) -> bytes:
    ts = START + 1000 * at_s
    value = {"node": "n1", "seq": at_s, "gpus": GPUS, "ticks": [ts], "fields": {"150": temperatures}}
    return json.dumps({"ts": ts, "node": "n1", "kind": "telemetry", "value": value}).encode() + b"\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """GPU-2 loses the bus after ten seconds; GPU-1 is well; one line is no record."""
    path = tmp_path / "two-gpus.jsonl"
    lost = line(10, "kernel", fault="xid", code=79, bdf="0000:02:00", raw="NVRM: Xid (PCI:0000:02:00): 79")
    frames = [frame(at_s, [50, 50]) for at_s in range(1, 30)]
    path.write_bytes(b"".join([line(0, "inventory", gpus=GPUS), *frames[:10], lost, b"rubbish\n", *frames[10:]]))
    return path


@pytest.fixture
def proof(recording: Path, tmp_path: Path) -> Path:
    """The same as a recording of a run, with digests."""
    path = tmp_path / "proof.jsonl"

    async def run() -> None:
        log = SqliteLog(tmp_path / "data")
        recorder = Recorder(path, log)
        given = Recordings([recording]).records("node")
        await log.append("observations", [Entry(each.key, each.kind, each.value, each.ts) for each in given])
        for stage in STAGES:
            task = asyncio.ensure_future(run_task(stage.part(), stage.make, log, commit_s=0.0))
            while log.committed(stage.part()) < log.end_offset(stage.input):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        recorder.close()
        await log.close()

    asyncio.run(run())
    return path


def cli(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main(["replay", *map(str, args)])
    said = capsys.readouterr()
    return int(exit.value.code or 0), said.out, said.err


# --- replaying ---------------------------------------------------------------------------------------------


def test_lines_tell_each_output_once_and_the_same_every_time(recording: Path) -> None:
    shown: list[list[bytes]] = [[], []]
    results = [replay([recording], show=lines.append) for lines in shown]
    assert shown[0] == shown[1]
    outputs = [json.loads(each) for each in shown[0]]
    assert sum(results[0].outputs.values()) == len(outputs)
    assert list(outputs[0]) == ["topic", "key", "kind", "ts", "offset", "ordinal", "value"]
    (letter,) = [output for output in outputs if output["topic"] == "dead-letter"]
    assert (letter["offset"], letter["value"]["kind"]) == (12, "unreadable")
    decisions = [output["value"] for output in outputs if output["topic"] == "decisions"]
    last = {decision["uuid"]: decision for decision in decisions}
    assert (last["GPU-2"]["weight"], last["GPU-2"]["condition"]) == (0.0, "failed")
    assert last["GPU-1"]["condition"] == "healthy"


def test_only_the_topics_asked_for_are_shown(recording: Path) -> None:
    shown: list[bytes] = []
    replay([recording], show=shown.append, only=["scores"])
    assert {json.loads(each)["topic"] for each in shown} == {"scores"}


def test_value_that_removes_its_key_is_null() -> None:
    class Removing(NodeTask):
        def step(self, records: Any) -> list[Output]:
            return [Output("scores", each.key, "tombstone", b"", each.ts, each.offset, 0) for each in records]

    shown: list[bytes] = []
    path = Path(__file__)  # any lines will do: each becomes a record
    stage = Stage("node", "observations", ("scores",), Removing)
    result = replay([path], show=shown.append, stages=[stage])
    assert json.loads(shown[0])["value"] is None
    assert result.outputs["scores"] == result.inputs["node"] == len(shown)


def test_policy_is_in_force_before_the_first_record(recording: Path) -> None:
    shown: list[bytes] = []
    result = replay(
        [recording], policy=to_change(load("spec"), 0), show=shown.append, only=["fleet-events", "decisions"]
    )
    outputs = [json.loads(each) for each in shown]
    policy = outputs[0]
    assert (policy["kind"], policy["offset"], policy["ts"]) == ("policy", -1, START)
    assert {each["value"]["policy"] for each in outputs if each["topic"] == "decisions"} == {policy["value"]["id"]}
    assert result.inputs["node"] == 33


def test_stage_that_fails_ends_the_replay(recording: Path) -> None:
    class Failing(NodeTask):
        def step(self, records: Any) -> list[Output]:
            raise ZeroDivisionError

    stages = (STAGES[0]._replace(make=Failing), STAGES[1])
    with pytest.raises(ZeroDivisionError):
        replay([recording], stages=stages)


def test_given_input_of_a_stage_replaces_what_another_would_feed_it() -> None:
    outputs: list[tuple[str, Output]] = []
    tick = Record(0, START, "", "tick", records.encode(records.Tick(ts=START)))
    asyncio.run(
        drive(
            {"observations": [tick], "fleet-events": []},
            lambda part, more: outputs.extend((part.stage, output) for output in more),
        )
    )
    assert {stage for stage, _ in outputs} <= {"node"}


# --- verifying ---------------------------------------------------------------------------------------------


def output(offset: int, ordinal: int = 0, value: bytes = b"v") -> Output:
    return Output("scores", "k", "x", value, 5, offset, ordinal)


def digest(from_offset: int, next_offset: int, *outputs: Output, stage: str = "s") -> Digest:
    running = RunningDigest(stage, from_offset)
    for each in outputs:
        running.add(each.topic, each.key, each.kind, each.value, each.ts)
    return running.digest(next_offset)


def test_equal_segments_are_proved_however_outputs_are_handed_over() -> None:
    outputs = [output(0), output(0, 1), output(3), output(9)]
    check = Check([digest(4, 9), digest(0, 3, *outputs[:2]), digest(3, 4, outputs[2]), digest(9, 20, outputs[3])])
    for each in outputs:
        check.add("s", [each])
    check.finish()
    assert (check.proved, check.differences) == (4, [])


def test_what_no_digest_covers_is_passed_over() -> None:
    check = Check([digest(5, 7, output(6))])
    check.add("s", [output(1), output(6), output(7)])
    check.add("other", [output(6)])
    check.finish()
    assert (check.proved, check.differences) == (1, [])


@pytest.mark.parametrize(
    "replayed",
    [
        [output(1), output(5, value=b"w")],
        [output(1)],
        [output(1), output(5), output(6)],
        [output(1), output(5)._replace(ts=6)],
        [output(1), output(5)._replace(key="l")],
    ],
)
def test_first_segment_that_differs_is_named(replayed: list[Output]) -> None:
    check = Check([digest(0, 5, output(1)), digest(5, 9, output(5)), digest(9, 12, output(9))])
    check.add("s", replayed)
    check.finish()
    assert check.proved == 1
    (difference,) = check.differences
    assert difference.startswith("s: what offsets 5 to 8 caused differs: 1 output recorded, ")


# --- the command -------------------------------------------------------------------------------------------


def test_summary_for_people(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = cli(capsys, recording)
    assert (code, err) == (0, "")
    rows = [row.split() for row in out.splitlines()]
    assert rows[0] == ["32", "records", "in", "node"]
    assert ["1", "records", "out", "dead-letter"] in rows
    assert ["1", "GPUs", "healthy"] in rows
    assert ["1", "GPUs", "failed"] in rows
    assert "failed       n1 GPU-2: Xid 79: GPU fell off the bus" in out
    assert "GPU-1:" not in out


def test_verified(proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli(capsys, proof, "--verify")
    assert code == 0
    assert out.splitlines()[-1].startswith("equal: ")


def test_different(proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = proof.read_text()
    assert '"code":79' in text
    proof.write_text(text.replace('"code":79', '"code":48'))
    code, _, err = cli(capsys, proof, "--verify")
    assert code == 1
    assert err.startswith("different: node: what offsets 0 to 31 caused differs: ")


def test_json_and_notes_do_not_mix(recording: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with recording.open("ab") as file:
        file.write(b'{"ts": 17')
    with pytest.raises(SystemExit) as exit:
        main(["replay", str(recording), "--json", "--topics", "decisions,scores"])
    out, err = capfdbinary.readouterr()
    assert exit.value.code == 0
    assert {json.loads(each)["topic"] for each in out.splitlines()} == {"decisions", "scores"}
    assert err == f"note: {recording}: the last line is cut off and left out\n".encode()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.jsonl"], "none.jsonl: cannot read the recording: No such file or directory"),
        (["--verify"], "no digests in this recording"),
        (["--verify", "--policy", "spec"], "--policy and --verify exclude each other"),
        (["--policy", "none.toml"], "policy none.toml: no such file or directory"),
        (["--json", "--topics", "decision"], "a topic with a similar name exists: `decisions`"),
        (["--json", "--topics", "qqq"], "help: topics: observations, xids"),
    ],
)
def test_usage_problems(recording: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str) -> None:
    code, _, err = cli(capsys, *args, *([] if args[0] == "none.jsonl" else [recording]))
    assert code == 2
    assert message in err
