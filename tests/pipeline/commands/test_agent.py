"""The agent as a user runs it: what it says where there is no GPU, and what its check says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

# A machine without a GPU, whatever this one has.
PROGRAM = """
from producers import machine
machine.look = lambda: machine.Machine([], ["no DCGM engine at 127.0.0.1:5555", "no NVIDIA driver"])
from pipeline.cli import main
main()
"""
NOBODY = ("--bootstrap", "127.0.0.1:1")
HEAVY = {"numpy", "faust", "mode", "rich", "sqlite3"}


@pytest.fixture
def agent(tmp_path):
    """`agent(ARGUMENT...)`: exit status, standard output and error."""

    def run(*arguments):
        command = [sys.executable, "-c", PROGRAM, "agent", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_on_a_node_without_a_gpu_there_is_one_clear_message(agent):
    assert agent(*NOBODY) == (
        2,
        "",
        "error: no GPU was found on this machine: no DCGM engine at 127.0.0.1:5555; no NVIDIA driver\n"
        "  help: name sources with --source, or simulator:8 to try; `gpu-vitals agent --check` says more\n",
    )


def test_the_same_fields_are_not_told_twice(agent):
    code, _, err = agent("--source", "dcgm", "--source", "nvml", *NOBODY)
    assert code == 2
    assert err.startswith("error: sources dcgm and nvml would tell the same fields of the same GPUs\n  help: ")


def test_the_check_says_what_is_wrong_and_how_to_mend_it(agent):
    code, out, err = agent("--check", *NOBODY)
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].split(None, 2)[:2] == ["ok", "settings"]
    assert any(line.startswith("error    sources ") and "no GPU was found" in line for line in lines)
    [at] = [number for number, line in enumerate(lines) if line.startswith("error    kafka ")]
    assert lines[at + 1].strip().startswith("fix: name one that runs with --bootstrap")


def test_the_check_is_readable_for_programs(agent):
    code, out, _ = agent("--check", "--json", "--source", "simulator:8", *NOBODY)
    findings = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert all(finding.keys() == {"what", "state", "found", "fix"} for finding in findings)
    assert {"what": "simulator:8", "state": "ok", "found": "can be read", "fix": ""} in findings
    assert {finding["what"] for finding in findings if finding["state"] == "error"} == {"kafka"}


def test_settings_that_are_wrong_are_one_of_the_findings(agent, tmp_path):
    (tmp_path / "gpu-vitals.toml").write_text("nod = 'x'\n")
    code, out, _ = agent("--check", "--json", *NOBODY)
    first, *others = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert (first["what"], first["state"]) == ("settings", "error")
    assert "`node`" in first["fix"]
    assert others


def test_json_is_a_form_of_the_check(agent):
    assert agent("--json", *NOBODY)[2].startswith("error: --json is for --check\n")


def test_an_agent_loads_nothing_heavy():
    modules = "pipeline.commands.agent, pipeline.agent, pipeline.plan, producers.dcgm.source, producers.nvml.source"
    script = f"import sys, {modules}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(eval(done.stdout))


def test_systemd_is_told_that_it_is_ready_alive_and_stopping_although_kafka_is_away(tmp_path):
    log = tmp_path / "kern.log"
    log.touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60.0)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "100000",
            "GPU_VITALS_AGENT_SPOOL_DIR": str(tmp_path / "spool"),
        }
        command = [sys.executable, "-c", PROGRAM, "agent", "--source", f"kernel-log:{log}", "--follow", *NOBODY]
        with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            try:
                told = [systemd.recv(4096).decode().partition("\n")[0] for _ in range(3)]
                process.terminate()
                while told[-1] != "STOPPING=1":
                    told.append(systemd.recv(4096).decode())
                _, err = process.communicate(timeout=60)
            finally:
                process.kill()
    assert set(told[:3]) == {"READY=1", "WATCHDOG=1"}
    assert process.returncode == 0
    assert "Traceback" not in err
