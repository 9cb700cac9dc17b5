"""Commands of Slurm's under a deadline."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from sinks.schedulers.adapter import Away
from sinks.schedulers.slurm.process import environment, run


def test_what_changes_the_answers_of_commands_is_not_passed_on():
    base = {
        "PATH": "/bin",
        "SQUEUE_USERS": "ann",
        "SQUEUE_FORMAT": "%i",
        "SLURM_CLUSTERS": "other",
        "SCONTROL_ALL": "1",
    }
    assert environment(base, "") == {"PATH": "/bin", "LC_ALL": "C"}
    assert environment({**base, "SLURM_CONF": "/a"}, "")["SLURM_CONF"] == "/a"
    assert environment({**base, "SLURM_CONF": "/a"}, "/b")["SLURM_CONF"] == "/b"


def test_a_command_that_is_not_there():
    with pytest.raises(Away, match=r"^/nowhere/scontrol: no such file or directory; Slurm's commands are needed here"):
        asyncio.run(run(["/nowhere/scontrol", "ping"], os.environ, 5.0))


def test_a_command_that_hangs_is_killed_and_gone(tmp_path):
    told = tmp_path / "pid"
    script = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    async def started_then_late():
        task = asyncio.create_task(run([sys.executable, "-c", script], os.environ, 600.0))
        while not (told.exists() and told.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(started_then_late())
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)
    with pytest.raises(Away, match=r"no answer within 0\.2 s$"):
        asyncio.run(run([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, 0.2))


def test_a_failure_is_told_on_one_line():
    ran = asyncio.run(run([sys.executable, "-c", "import sys; sys.exit('one\\n two\\n')"], os.environ, 60.0))
    assert (ran.status, ran.words) == (1, "one; two")
    ran = asyncio.run(run([sys.executable, "-c", "raise SystemExit(3)"], os.environ, 60.0))
    assert (ran.status, ran.words) == (3, "exit status 3")
