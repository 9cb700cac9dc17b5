from __future__ import annotations

import subprocess
import sys

import click
import pytest

from pipeline import cli
from pipeline.errors import UsageProblem, most_similar

HEAVY = {"numpy", "rich", "prometheus_client", "zstandard", "asyncio", "sqlite3"}


def run(*args):
    """Exit status, standard output and error of the real program."""
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_help_shows_what_to_type():
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert "$ gpu-vitals run " in out
    for name, line in cli.COMMANDS.items():
        assert f"  {name} " in out
        assert line in out


def test_the_version():
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("gpu-vitals ")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_is_there_and_explains_itself(name):
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: gpu-vitals {name}" in out


@pytest.mark.parametrize("args", [["--help"], ["xid", "explain", "48"]])
def test_a_simple_question_loads_nothing_heavy(args):
    script = (
        "import sys\nfrom pipeline.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=True)
    assert not HEAVY & set(eval(done.stderr))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["polcy"], "no such command: polcy\n  help: a command with a similar name exists: `policy`"),
        (["zzz"], f"no such command: zzz\n  help: the commands are {', '.join(cli.COMMANDS)}"),
        (["run", "--polcy", "x"], "no such option: --polcy\n  help: an option with a similar name exists: `--policy`"),
        (["run", "--zzz"], "no such option: --zzz\n  help: `gpu-vitals run --help` lists what it takes"),
        (
            ["sink"],
            "missing argument 'NAME'. Choose from: metrics, decisions, console, webhook, stream, tickets, commander, "
            "scheduler\n  help: `gpu-vitals sink --help` lists what it takes",
        ),
        (["cases", "GPU-1"], "GPU-1: cases are listed of all GPUs\n  help: gpu-vitals explain GPU-1 tells of one"),
        (["run", "--for", "1w"], "not a duration: 1w\n  help: a number and ms, s, m, h or d, as in 60s"),
        (
            ["policy", "check"],
            "missing argument 'FILE'\n  help: `gpu-vitals policy check --help` lists what it takes",
        ),
    ],
)
def test_an_error_of_usage_is_one_line_and_a_help(args, expected):
    assert run(*args) == (2, "", f"error: {expected}\n")


def test_without_a_command_the_help_is_the_error():
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: gpu-vitals")


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lambda: None, 0),
        (lambda: 1, 1),
        (raising(KeyboardInterrupt), 130),
        (raising(BrokenPipeError), 141),
    ],
)
def test_exit_statuses(body, code, monkeypatch, capfd):
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: click.Command("run", callback=body))
    monkeypatch.setattr(cli, "silence", lambda: None)
    with pytest.raises(SystemExit) as end:
        cli.main(["run"])
    assert end.value.code == code
    assert capfd.readouterr().err.strip() == ""


def test_a_reader_that_has_seen_enough_ends_us_quietly():
    command = f'set -o pipefail; {sys.executable} -c "from pipeline.cli import main; main()" xid explain 48 | true'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_a_problem_reads_as_text_and_help():
    assert str(UsageProblem("no such file", "name another")) == "no such file\n  help: name another"
    assert str(UsageProblem("no such file")) == "no such file"


def test_similar_names():
    assert most_similar("smothing_s", ["smoothing_s", "limits"]) == "smoothing_s"
    assert most_similar("zzz", ["smoothing_s"]) is None
