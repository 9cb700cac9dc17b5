"""A state that another release has saved: the program ends with one line, and leaves everything as it was."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.sqlite_log import SqliteLog
from pipeline.topology import STAGES, Stage
from processors import checkpoints, cluster, node
from schemas.log import Checkpoint

VERSIONS = {"node": node.STATE_VERSION, "cluster": cluster.VERSION}
KMSG = "6,1,1000000,-;NVRM: Xid (PCI:0000:9b:00): 79, pid=812, name=python3, GPU has fallen off the bus.\n"


async def save(directory: Path, stage: Stage, data: bytes) -> None:
    log = SqliteLog(directory)
    await log.restore(stage.part())
    await log.commit(stage.part(), [], 0, Checkpoint(0, data))
    await log.close()


async def saved(directory: Path, stage: Stage) -> tuple[Checkpoint | None, int]:
    log = SqliteLog(directory)
    try:
        return await log.restore(stage.part())
    finally:
        await log.close()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("by", [-1, 1])
def test_a_data_directory_of_another_release_says_what_to_do(tmp_path: Path, stage: Stage, by: int) -> None:
    own = VERSIONS[stage.name]
    data = checkpoints.pack(own + by, 0, {}).data
    directory = tmp_path / "data"
    asyncio.run(save(directory, stage, data))
    lines = tmp_path / "kernel.log"
    lines.write_text(KMSG)
    arguments = ["run", "--source", f"kernel-log:{lines}", "--data-dir", str(directory), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        f"error: {directory}: {stage.name}/0: checkpoint of version {own + by}, this code reads version {own}",
        "  help: name another --data-dir, or go on with the release that has written this one",
    ]
    assert "Traceback" not in done.stderr
    assert asyncio.run(saved(directory, stage)) == (Checkpoint(0, data), 0)
