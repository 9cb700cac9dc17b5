"""kill -9 at random moments, and any cut of the input into batches: outputs and states stay equal to the byte.

CI=1 kills as often as the promise says (50 times), otherwise 8 times; KILLS=200 as often as you like.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.archive_log import ArchiveLog
from pipeline.kits import check_cuts
from pipeline.recording_file import Recordings
from pipeline.replay import replay
from pipeline.runner import run_task
from pipeline.sqlite_log import SqliteLog
from pipeline.topology import STAGES, Stage
from processors.cluster import ClusterTask
from processors.node import NodeTask
from schemas import topics
from schemas.log import Output, Record

# Fifty lives and their proofs: minutes, and many of them on a machine that is busy with other things.
pytestmark = pytest.mark.timeout(2400)

KILLS = int(os.environ.get("KILLS", 50 if os.environ.get("CI") else 8))
# At most, from the moment the log is open; a run of the recording takes about 1.5 s. Each life may last longer than the
# one before: else a run would never come to its end on a machine that is too slow to get anywhere within so long.
LIFE_S, LONGER = 1.2, 1.1
CLI = [sys.executable, "-c", "from pipeline.cli import main; main()"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "fleet.jsonl"
    options = ["--gpus", "24", "--for", "7m", "--seed", "3", "--out", str(path)]
    subprocess.run([*CLI, "simulate", *options], check=True, capture_output=True)
    return path


def start(recording: Path, directory: Path) -> subprocess.Popen[bytes]:
    options = ["--source", f"recording:{recording}", "--data-dir", str(directory), "--json"]
    options += ["--record", str(record_of(directory))]
    return subprocess.Popen([*CLI, "run", *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def record_of(directory: Path) -> Path:
    """What the run itself records: plain, or compressed every other time."""
    return directory.with_suffix(".jsonl.zst" if int(directory.name) % 2 else ".jsonl")


def complete(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()


def kill(process: subprocess.Popen[bytes], directory: Path, after_s: float) -> bool:
    """Kill `process` that long after it has opened its log; False when it was done before."""
    opened = written_ns(directory)
    while process.poll() is None and written_ns(directory) <= opened:
        time.sleep(0.01)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -9), errors.decode()
    return process.returncode != 0


def written_ns(directory: Path) -> int:
    """When the log was written to last; 0: it is not open, or it is being closed."""
    try:
        return (directory / "log.db-wal").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


class Contents(NamedTuple):
    """What a log holds in the end. states: the newest checkpoint of each stage, and its position."""

    records: dict[str, list[Record]]
    states: dict[str, tuple[bytes, int]]


def contents(directory: Path) -> Contents:
    async def read() -> Contents:
        log = SqliteLog(directory)
        try:
            records = {topic: log.tail(topic, -1, 1_000_000) for topic in topics.TOPICS}
            states = {}
            for stage in STAGES:
                checkpoint, position = await log.restore(stage.part())
                assert checkpoint
                assert checkpoint.next_offset == position == len(records[stage.input])
                states[stage.name] = (checkpoint.data, position)
            return Contents(records, states)
        finally:
            await log.close()

    return asyncio.run(read())


def undisturbed(stage: Stage, given: Sequence[Record]) -> tuple[list[Output], bytes]:
    """What `stage` makes of `given` in one go: its outputs and its state."""
    outputs: list[Output] = []
    log = ArchiveLog({stage.part(): given}, {}, lambda part, more: outputs.extend(more))
    task = asyncio.run(run_task(stage.part(), partial(stage.make, 0), log, commit_s=0.0, checkpoint_s=math.inf))
    return outputs, task.checkpoint().data


def said(records: Sequence[Record]) -> list[tuple[str, str, bytes, int]]:
    """Without offsets. A source says that it is there each time it is started: that is left out."""
    return [(each.key, each.kind, each.value, each.ts) for each in records if each.kind != "source"]


def test_killed_runs_end_with_the_outputs_and_states_of_an_undisturbed_one(recording: Path, tmp_path: Path) -> None:
    complete(start(recording, tmp_path / "0"))
    expected = contents(tmp_path / "0")
    assert expected.records[topics.DECISIONS]
    derived_count = sum(each.origin is not None for records in expected.records.values() for each in records)
    assert replay([record_of(tmp_path / "0")], verify=True).proved == derived_count

    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    kills = number = 0
    while kills < KILLS:
        number += 1
        directory = tmp_path / str(number)
        lives = 0
        while kill(start(recording, directory), directory, draw.uniform(0.0, LIFE_S * LONGER**lives)):
            kills, lives = kills + 1, lives + 1
        found = contents(directory)
        for topic in topics.TOPICS:
            assert said(found.records[topic]) == said(expected.records[topic]), topic
        for stage in STAGES:
            outputs, state = undisturbed(stage, found.records[stage.input])
            derived = [
                Output(topic, each.key, each.kind, each.value, each.ts, each.origin.offset, each.origin.ordinal)
                for topic in stage.outputs
                for each in found.records[topic]
                if each.origin and each.origin.stage == stage.name
            ]
            by_origin = sorted(derived, key=lambda output: (output.offset, output.ordinal))
            assert by_origin == [output._replace(urgent=False) for output in outputs], stage.name
            assert found.states[stage.name][0] == state, stage.name
        replayed = replay([record_of(directory)], verify=True)
        assert (replayed.differences, replayed.notes) == ([], [])
        assert replayed.inputs == {stage.name: len(found.records[stage.input]) for stage in STAGES}


def test_no_cut_of_a_fleets_history_shows(recording: Path) -> None:
    records = list(Recordings([recording]).records("node"))[:200]
    outputs = check_cuts(NodeTask, records, rounds=20, seed=random.randrange(1 << 32))
    events = [
        Record(offset, output.ts, output.key, output.kind, output.value)
        for offset, output in enumerate(out for out in outputs if out.topic == topics.FLEET_EVENTS)
    ]
    assert check_cuts(ClusterTask, events, rounds=20, seed=random.randrange(1 << 32))
