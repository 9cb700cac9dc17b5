"""Operators' words beside an embedded pipeline that runs: through its socket, by its user, into its log."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.operators.place import short

Run = Callable[..., tuple[int, str, str]]
NODE = "node-0001"
PATIENCE_S = 120.0


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a pipeline that runs, below a path that is longer than a socket's address may be."""
    directory = tmp_path / ("long" * 25)
    yield from running(directory, tmp_path)


def running(directory: Path, cwd: Path, *more: str) -> Iterator[Path]:
    program = [sys.executable, "-c", "from pipeline.cli import main; main()"]
    command = [*program, "run", "--source", "simulator:16", "--data-dir", str(directory), "--json", *more]
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(lambda: child.poll() is None and (directory / "control/socket").exists())
        yield directory
    finally:
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 0
    assert not (directory / "control/socket").exists(), "who has ended does not seem to listen"


def wait(done: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := done():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def cases(run: Run, data: Path) -> dict[str, Any]:
    code, out, err = run("cases", "--json", "--data-dir", str(data))
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def standing(run: Run, data: Path) -> list[dict[str, Any]]:
    return [word for brakes in cases(run, data)["brakes"] for word in brakes.get("standing", [])]


def say(run: Run, data: Path, *args: str) -> dict[str, Any]:
    def try_() -> dict[str, Any]:
        code, out, err = run(*args, "--wait", "0", "--data-dir", str(data))
        if "has not begun" in err:
            return {}
        assert (code, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        return found

    said: dict[str, Any] = wait(try_)
    return said


def test_a_node_is_drained_and_given_back(run: Run, data: Path) -> None:
    say(run, data, "hold", "--all", "--for", "1h", "--note", "trial", "--author", "ann")
    ann = f"ann (uid {os.getuid()})"
    [hold] = wait(lambda: standing(run, data))
    assert (hold["what"], hold["scope"], hold["author"], hold["note"]) == ("hold", "cluster", ann, "trial")

    def drained() -> list[dict[str, Any]]:
        said = say(run, data, "drain", "--node", NODE)  # refused until the node is known
        assert (said["action"], said["node"], said.get("until", 0)) == ("drain", NODE, 0)
        out = [row for row in cases(run, data)["gpus"] if row["node"] == NODE and row["action"] == "drain"]
        return out if len(out) == 8 else []

    out = wait(drained)
    code, table, _ = run("cases", "--data-dir", str(data))
    assert (code, out[0]["gpu"] in table, "hold of cluster until" in table) == (0, True, True)

    say(run, data, "undrain", "--node", NODE)
    say(run, data, "release", "--all")
    wait(lambda: not any(row["action"] == "drain" for row in cases(run, data)["gpus"]))
    wait(lambda: not standing(run, data))


def test_a_gpu_is_found_by_its_uuid(run: Run, data: Path) -> None:
    def drained() -> list[dict[str, Any]]:
        say(run, data, "drain", "--node", NODE)
        return [row for row in cases(run, data)["gpus"] if row["node"] == NODE]

    gpu = wait(drained)[0]["gpu"]
    assert say(run, data, "restore", "--gpu", gpu)["node"] == NODE
    code, _, err = run("restore", "--gpu", "GPU-typo", "--data-dir", str(data))
    assert (code, "GPU-typo: is in no node's inventory" in err) == (2, True)


def test_what_became_of_a_word_is_told(run: Run, data: Path) -> None:
    wait(lambda: ask(data, '{"ask":"now"}').get("now"))
    here = ("--data-dir", str(data), "--author", "ann", "--wait", "60s")
    ann = f"ann (uid {os.getuid()})"
    code, out, err = run("hold", "--all", "--note", "trial", *here)
    assert (code, json.loads(out)["action"], err) == (
        0,
        "hold",
        f"taken: hold of cluster by {ann} (unverified): trial\n",
    )
    drained = wait(lambda: next((err for code, _, err in [run("drain", "--node", NODE, *here)] if code == 0), ""))
    assert drained.startswith(f"taken: drain of node {NODE} by {ann}; GPU-"), "refused until the node is known"
    assert " is draining, " in drained
    code, out, err = run("release", "--rack", "nix", *here)
    assert (code, json.loads(out)["rack"]) == (1, "nix")
    assert err == "refused: release: no inventory has named a rack 'nix'\n"
    assert run("maintenance", "--node", NODE, *here)[0] == 0


def test_only_its_user_can_speak_and_the_kernel_says_who_it_is(run: Run, data: Path) -> None:
    say(run, data, "hold", "--all")
    assert stat.S_IMODE((data / "control").stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "control/socket").stat().st_mode) == 0o600
    forged = {"kind": "operator", "ts": 1, "node": "", "action": "release", "author": "bob (uid 99999)", "id": "x"}
    answers = [ask(data, line) for line in (json.dumps({"say": forged}), "{", "[]", '{"ask":"me"}')]
    assert f"does not end in '(uid {os.getuid()})'" in answers[0]["refused"]
    assert all("refused" in answer for answer in answers)
    assert wait(lambda: standing(run, data)), "nothing of it was recorded"


def ask(data: Path, line: str) -> dict[str, Any]:
    with short(data) as name, socket.socket(socket.AF_UNIX) as peer:
        peer.connect(name)
        peer.sendall(line.encode() + b"\n")
        with peer.makefile("rb") as answers:
            found: dict[str, Any] = json.loads(answers.readline())
    return found


def test_where_keys_are_declared_words_are_signed(run: Run, tmp_path: Path) -> None:
    code, stanza, _ = run("commands", "keygen", "--id", "ops", "--out", "ops.key")
    assert code == 0
    run("commands", "keygen", "--id", "ops2", "--out", "eve.key")
    public = stanza.splitlines()[1]
    policy = tmp_path / "guarded.toml"
    policy.write_text(f'[cluster.operators.ops]\n{public}\nmay = ["hold", "release"]\n')
    for data in running(tmp_path / "data", tmp_path, "--policy", str(policy)):
        wait(lambda data=data: ask(data, '{"ask":"now"}').get("now"))
        refused = {
            (): "it is not signed",
            ("--key", "eve.key"): "key 'ops2' is not among",
        }
        for key, why in refused.items():
            code, _, err = run("hold", "--all", "--data-dir", str(data), *key)
            assert (code, why in err) == (2, True), err
        code, _, err = run("drain", "--node", NODE, "--data-dir", str(data), "--key", "ops.key")
        assert (code, "may not say 'drain'; it may hold, release" in err) == (2, True), err
        say(run, data, "hold", "--all", "--key", "ops.key")
        [hold] = wait(lambda data=data: standing(run, data))
        assert hold["verified"] is True


def test_where_nobody_listens_it_says_so(run: Run, tmp_path: Path) -> None:
    code, _, err = run("hold", "--all", "--data-dir", str(tmp_path))
    assert code == 2
    assert "no pipeline listens there" in err
    assert "gpu-vitals run" in err


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["hold"], "has to be said once"),
        (["hold", "--all", "--node", "n1"], "has to be said once"),
        (["drain", "--all"], "no such option"),
        (["override", "--node", "n1"], "weight"),
        (["override", "--node", "n1", "--weight", "2"], "0.0<=x<=1.0"),
        (["hold", "--all", "--for", "40d"], "between 0 and 31 days"),
        (["hold", "--gpu", "0000:01:00"], "of which node?"),
        (["hold", "--all", "--data-dir", "x", "--bootstrap", "y"], "exclude each other"),
        (["hold", "--all", "--key", "none.key"], "none.key"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(run: Run, args: list[str], why: str) -> None:
    code, out, err = run(*args, *([] if "--bootstrap" in args else ["--bootstrap", "127.0.0.1:1"]))
    assert (code, out) == (2, "")
    assert why in err
