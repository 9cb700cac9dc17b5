"""The systemd units before systemd's own checker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose.stack import COMPOSE

pytestmark = pytest.mark.system

UNITS = sorted((COMPOSE / "systemd").glob("*.service"))
DROP_IN = COMPOSE / "systemd" / "gpu-vitals-agent-commands.conf"
PROGRAM = "/opt/gpu-vitals/bin/gpu-vitals"
EXPOSURE_MAX = "20"  # of 100, as systemd counts; a unit without hardening has 96


@pytest.fixture(params=UNITS, ids=[unit.name for unit in UNITS])
def unit(request, tmp_path):
    """A copy that names a program which exists here."""
    program = Path(sys.executable).with_name("gpu-vitals")
    copy = tmp_path / request.param.name
    copy.write_text(request.param.read_text("utf-8").replace(PROGRAM, str(program)))
    return copy


def judged(*command):
    done = subprocess.run(["systemd-analyze", *command], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_systemd_understands_the_unit(unit):
    instance = str(unit).replace("@.", "@node.")
    assert judged("verify", "--man=no", instance) == (0, "")


@pytest.mark.parametrize("unit", [COMPOSE / "systemd" / "gpu-vitals-agent.service"], ids=["agent"], indirect=True)
def test_systemd_understands_what_is_added_where_commands_are_done(unit):
    (unit.parent / f"{unit.name}.d").mkdir()
    (unit.parent / f"{unit.name}.d" / "commands.conf").write_text(DROP_IN.read_text("utf-8"))
    assert judged("verify", "--man=no", str(unit)) == (0, "")


def test_the_unit_may_little(unit):
    status, output = judged("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(unit))
    assert status == 0, output


def test_the_command_is_one_that_we_have(unit):
    [command] = re.findall(r"^ExecStart=(.+)$", unit.read_text("utf-8"), re.MULTILINE)
    named = {word for word in command.split() if word.startswith("--")}
    done = subprocess.run([*command.split()[:2], "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert named <= set(re.findall(r"--[a-z-]+", done.stdout))
