"""kill -9 at every step of a reset: it is done once or not at all, and what is said of it is true."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.spool.lane import FAULTS
from pipeline.spool.store import Store
from schemas import records
from tests.producers.commands.standins import Machine

# Some sixty processes, one behind the other: minutes on a busy machine.
pytestmark = pytest.mark.timeout(1800)

NOW = 1_767_225_600_000
FINAL = {"done", "indeterminate"}


def desk(directory: Path, kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    module = "tests.pipeline.node_commands.scripted_desk"
    argv = [sys.executable, "-m", module, str(directory), str(NOW), str(kill_at)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300)


def told(directory: Path) -> list[records.CommandResult]:
    store = Store(directory / "spool", 1 << 20, boot="b1", now_ms=NOW)
    found = []
    while batch := store.peek(FAULTS, 1 << 20):
        found += batch.entries
        store.ack(FAULTS, batch.end)
    store.close()
    return [msgspec.json.decode(each.value, type=records.CommandResult) for each in found]


def test_wherever_the_agent_dies_a_reset_is_done_at_most_once_and_its_end_is_told(tmp_path):
    ends = set()
    for kill_at in itertools.count(1):
        directory = tmp_path / str(kill_at)
        directory.mkdir()
        first = desk(directory, kill_at)
        for _ in range(2):  # the second start must find nothing left to say but what it said
            last = desk(directory)
            assert last.returncode == 0, last.stderr
        resets = len(Machine(directory).resets())
        results = told(directory)
        final = {result.state for result in results} & FINAL
        assert len(final) == 1, (kill_at, results)
        assert {result.state for result in results} <= FINAL | {"started"}, (kill_at, results)
        assert resets == 1 if final == {"done"} else resets <= 1, (kill_at, resets, results)
        assert len([result for result in results if result.state in FINAL]) <= 2, (kill_at, results)
        ends |= {(*final, resets)}
        if first.returncode == 0:
            break
        assert first.returncode == -9, first.stderr
    assert kill_at == int(first.stdout) + 1  # every step was tried
    assert ends == {("done", 1), ("indeterminate", 0), ("indeterminate", 1)}


def test_an_agent_that_dies_again_while_it_comes_back_loses_no_word_either(tmp_path):
    for first, second in [(5, 1), (5, 2), (5, 3), (5, 4), (5, 5), (8, 2), (8, 3), (8, 4)]:
        directory = tmp_path / f"{first}-{second}"
        directory.mkdir()
        assert desk(directory, first).returncode == -9
        desk(directory, second)
        assert desk(directory).returncode == 0
        assert len({result.state for result in told(directory)} & FINAL) == 1
        assert len(Machine(directory).resets()) <= 1
