"""The whole pipeline as a user runs it: the real program, its output, its exit status."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

PROGRAM = [sys.executable, "-c", "from pipeline.cli import main; main()", "run"]
FAST = ["--source", "simulator:8", "--speed", "300"]
WAIT_S = 90.0
XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


@contextlib.contextmanager
def started(*args, **kwargs):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kwargs}
    process = subprocess.Popen([*PROGRAM, *args], **pipes)
    try:
        yield process
    finally:
        process.terminate()  # in order: it removes its temporary directory
        process.communicate(timeout=WAIT_S)


def run(*args):
    with started(*args) as process:
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, [json.loads(line) for line in out.splitlines()], err


def run_until(enough, *args):
    """Exit status and decisions of a run that is told to end when `enough(decisions)` have been said."""
    with started(*args) as process:
        decisions = []
        while not enough(decisions):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            decisions.append(json.loads(line))
        process.terminate()
        decisions += [json.loads(line) for line in process.stdout]
        return process.wait(WAIT_S), decisions


def test_a_kernel_log_ends_the_run_and_its_fault_takes_the_gpu_out(tmp_path):
    log = tmp_path / "kern.log"
    log.write_text(f"2026-01-01T00:00:00+00:00 node1 kernel: {XID}\n")
    code, decisions, err = run("--source", f"kernel-log:{log}")
    assert code == 0
    assert err.startswith(f"kernel-log:{log}; policy default@")
    assert [(one["bdf"], one["weight"]) for one in decisions[:1]] == [("0000:3b:00", 0.0)]
    assert "Xid 79" in decisions[0]["reasons"][0]


def test_a_recorded_run_decides_the_same_again_and_proves_it(tmp_path):
    recording = tmp_path / "run.jsonl"
    code, first = run_until(
        lambda said: any(decision["weight"] < 1.0 for decision in said), *FAST, "--record", str(recording)
    )
    assert code == 0
    code, again, _ = run("--source", f"recording:{recording}")
    assert code == 0
    first, again = ([{**one, "origin": ""} for one in decisions] for decisions in (first, again))
    assert again[: len(first)] == first

    verify = [*PROGRAM[:-1], "replay", "--verify", str(recording)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0
    assert "equal" in done.stdout + done.stderr


def test_a_second_run_on_the_same_data_goes_on_where_the_first_ended(tmp_path):
    at = ["--data-dir", str(tmp_path / "data")]
    _, first = run_until(bool, *FAST, *at)
    _, second = run_until(bool, *FAST, *at)
    offsets = [decision["offset"] for decision in first + second]
    assert offsets == list(range(len(offsets)))
    assert second[0]["ts"] >= first[-1]["ts"]


def test_it_ends_after_the_time_it_was_given():
    assert run(*FAST, "--for", "1s")[0] == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order_and_leaves_nothing_behind(ending, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with started(*FAST, env=environment) as process:
        process.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(ending)
        assert all(json.loads(line) for line in process.stdout)
        assert process.wait(WAIT_S) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_went_away_ends_it():
    with started(*FAST) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 141
    assert "Traceback" not in err


def test_two_runs_do_not_share_a_data_directory(tmp_path):
    at = ["--data-dir", str(tmp_path)]
    with started(*FAST, *at) as first:
        first.stdout.readline()
        code, _, err = run(*FAST, *at)
    assert code == 2
    assert re.match(rf"error: {tmp_path}: in use by process {first.pid}\n  help: ", err)


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["--policy", "spc"], "policy spc: no such file or directory\n  help: a profile with a similar name"),
        (["--source", "recording:/nothing"], "source recording:/nothing: no such file or directory"),
        (["--listen", "x"], "not an address to listen on: x\n  help: "),
        (["--config", "/nothing"], "/nothing: no such file"),
        (["--record", "/nothing/x.jsonl"], "/nothing/x.jsonl: "),
        (["--data-dir", "/proc/nothing"], "/proc/nothing"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_status_2(args, error):
    code, decisions, err = run(*args, "--for", "2s")
    assert (code, decisions) == (2, [])
    assert err.startswith(f"error: {error}")
    assert "Traceback" not in err


def test_live_sources_and_simulated_ones_do_not_share_a_history(tmp_path):
    at = ["--data-dir", str(tmp_path)]
    run_until(bool, *FAST, *at)
    code, _, err = run("--source", "exporter:http://127.0.0.1:1/metrics", *at, "--for", "1s")
    assert code == 2
    assert "the data directory holds the history of a simulated or recorded fleet" in err


def ask(address, path):
    with urlopen(f"http://{address}{path}", timeout=WAIT_S) as answer:
        return answer.read().decode()


def test_it_listens_where_it_says(tmp_path):
    with started(*FAST, "--listen", "0") as process:
        address = re.search(r"http://([\d.:]+)/metrics", process.stderr.readline())[1]
        process.stdout.readline()
        deadline = time.monotonic() + WAIT_S
        while "dcgm_gpu_health_score{" not in (page := ask(address, "/metrics")):
            assert time.monotonic() < deadline, page
            time.sleep(0.05)
        assert json.loads(ask(address, "/readyz")) == {"ready": True, "problems": []}
        assert json.loads(ask(address, "/healthz")) == {"healthy": True, "problems": []}
        assert 'gpu_vitals_source_up{node="' in page


def test_a_port_in_use_is_said_in_one_line():
    with started(*FAST, "--listen", "0") as process:
        port = re.search(r"http://[\d.]+:(\d+)/metrics", process.stderr.readline())[1]
        code, _, err = run(*FAST, "--listen", port)
    assert (code, err) == (2, f"error: cannot listen on {port}: address already in use\n  help: name another port\n")


def test_a_source_that_cannot_be_read_is_named_with_its_reason(tmp_path):
    source = "exporter:http://127.0.0.1:1/metrics"
    with started("--source", source, "--data-dir", str(tmp_path), "--listen", "0") as process:
        address = re.search(r"; http://([\d.:]+)/metrics", process.stderr.readline())[1]
        deadline = time.monotonic() + WAIT_S
        while True:
            problem = unready(address)[0]
            if problem["why"].startswith("failing: "):
                break
            assert time.monotonic() < deadline, problem
            time.sleep(0.05)
    assert problem["what"] == f"source {source}"


def unready(address):
    with pytest.raises(HTTPError) as answer:
        ask(address, "/readyz")
    with answer.value as body:
        return json.load(body)["problems"]


def test_on_a_terminal_it_draws_and_leaves_the_last_view():
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}
    with started(*FAST, stdout=follower, stdin=follower, env=environment) as process:
        os.close(follower)
        shown, told = b"", False
        while process.poll() is None:
            if b"8 GPUs on 1 node" in shown and not told:
                process.terminate()
                told = True
            with contextlib.suppress(BlockingIOError, OSError):
                shown += os.read(leader, 1 << 16)
            time.sleep(0.02)
    os.close(leader)
    assert process.returncode == 0
    screens = shown.decode().split("\x1b[?1049l")  # leaves the alternate screen
    assert "Worst GPUs" in screens[0]
    assert "8 GPUs on 1 node" in screens[-1]
    assert "simulated faulty fleet, 300 x real time" in screens[-1]
