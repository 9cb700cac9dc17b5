"""A reset before a stand-in of nvidia-smi that behaves as the real one was seen to: when it is done, and why not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from producers.commands import holders
from producers.commands.outcome import NVIDIA_SMI
from producers.commands.pausable import Pausable
from producers.commands.reset import reset
from producers.source import Observed, Source
from tests.producers.commands.standins import BDF, OTHER, UUID, Machine, unsaid

SAID = Observed("n1", "kernel", b"{}")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    made.use(monkeypatch.setattr)
    return made


class Holding(Source):
    """A source that has the first GPU open, as NVML does."""

    name = "nvml"
    deadline_s = 2.0

    def __init__(self, machine, letting_go=True):
        self._path, self._file, self._letting_go = f"{machine.devices}0", -1, letting_go
        self.log = []

    async def open(self, after):
        self._file = os.open(self._path, os.O_RDONLY)
        self.log.append("open")

    async def read(self):
        await asyncio.sleep(0.01)
        return [SAID]

    async def close(self):
        if self._file >= 0 and self._letting_go:
            os.close(self._file)
            self._file = -1
            self.log.append("close")


def done(machine, *sources, programs=None):
    return asyncio.run(reset(programs or machine.programs, sources, UUID, BDF, unsaid))


def user_of(machine, device):
    """Another process that has it open."""
    code = f"f = open({device!r}); print('open', flush=True); input()"
    user = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    user.stdout.readline()
    machine.look()
    return user


def test_a_gpu_that_nobody_uses_is_reset_by_its_uuid(machine):
    outcome = done(machine)
    assert (outcome.state, outcome.status) == ("done", 0)
    assert "was successfully reset" in outcome.output
    assert machine.resets() == [f"--gpu-reset -i {UUID}"]


def test_one_in_use_is_left_alone_and_who_uses_it_is_named(machine):
    with user_of(machine, f"{machine.devices}0") as user:
        outcome = done(machine)
        user.stdin.close()
    assert (outcome.state, outcome.reason) == ("refused", "busy")
    assert f"({user.pid})" in outcome.detail
    assert machine.resets() == []


def test_one_that_is_in_use_does_not_protect_another(machine):
    with user_of(machine, f"{machine.devices}1") as user:
        assert done(machine).state == "done"
        user.stdin.close()


def test_who_computes_in_a_container_is_seen_by_nvidia_smi(machine):
    machine.say("compute", f"{UUID}, 4242, /usr/bin/python3, with a comma\n{OTHER}, 1, other\n")
    outcome = done(machine)
    assert (outcome.reason, outcome.detail) == ("busy", "in use by /usr/bin/python3, with a comma (4242)")
    assert machine.resets() == []


def test_a_gpu_of_which_the_driver_does_not_tell_the_device_is_left_alone(machine):
    (machine.gpus / f"{BDF}.0" / "information").write_text(f"GPU UUID: {UUID}\n")
    assert (done(machine).state, done(machine).reason) == ("refused", "unseen")
    assert machine.resets() == []


SANDBOX = "a container or sandbox hides them from this agent: run it outside, or give it CAP_SYS_PTRACE"


@pytest.mark.parametrize(("user", "fix"), [(1000, "run the agent as root"), (0, SANDBOX)])
def test_where_a_process_cannot_be_looked_into_nothing_is_reset(machine, monkeypatch, user, fix):
    """As of another user, or outside of a sandbox: any of them may use it."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(holders.Path, "iterdir", _of_another_user(f"{machine.proc}/{os.getpid()}"))
    outcome = done(machine)
    assert (outcome.state, outcome.reason) == ("refused", "unseen")
    assert outcome.detail == f"1 process cannot be looked into and may use it: {fix}"
    assert machine.resets() == []


def test_what_nvidia_smi_calls_busy_is_busy(machine):
    machine.say("mode", "busy")
    outcome = done(machine)
    assert (outcome.state, outcome.reason, outcome.status) == ("failed", "busy", 255)
    assert "could not be reset" in outcome.output


@pytest.mark.parametrize("status", [status for status in NVIDIA_SMI if status != 255])
def test_an_exit_status_is_told_in_words(machine, status):
    machine.say("mode", str(status))
    outcome = done(machine)
    assert (outcome.state, outcome.status) == ("failed", status)
    assert outcome.detail == f"exit status {status}: {NVIDIA_SMI[status]}"


def test_one_that_hangs_is_killed_with_all_it_started(machine):
    machine.say("mode", "hang")
    outcome = done(machine, programs=machine.programs._replace(reset_s=10.0))  # it has to come as far as to print
    assert (outcome.state, outcome.reason, outcome.status) == ("failed", "deadline", None)
    assert "what was reset is not known" in outcome.detail
    assert outcome.output == "resetting"
    assert not _running(machine.programs.nvidia_smi)


def test_a_program_that_is_not_there_is_said_to_be_so(machine):
    outcome = done(machine, programs=machine.programs._replace(nvidia_smi="/nowhere/nvidia-smi"))
    assert (outcome.state, outcome.detail) == ("failed", "/nowhere/nvidia-smi: no such file or directory")


def test_what_the_agent_has_open_itself_is_let_go_of_and_taken_up_again(machine):
    async def run(mode):
        machine.say("mode", mode)
        inner = Holding(machine)
        source = Pausable(inner)
        await source.open(None)
        assert await source.read() == [SAID]
        outcome = await reset(machine.programs, [source], UUID, BDF, unsaid)
        reads = [await source.read() for _ in range(2)]
        await source.close()
        return outcome.state, inner.log, reads

    for mode, state in (("ok", "done"), ("busy", "failed"), ("3", "failed")):
        assert asyncio.run(run(mode)) == (state, ["open", "close", "open", "close"], [[], [SAID]])


def test_while_it_has_let_go_a_source_says_nothing_and_is_not_opened(machine):
    async def run():
        inner = Holding(machine)
        source = Pausable(inner)
        await source.open("p")
        await source.pause()
        assert await source.read() == []
        await source.open("p")  # its supervisor starts it anew
        assert inner.log == ["open", "close"]
        source.resume()
        assert (await source.read(), await source.read()) == ([], [SAID])
        await source.close()

    asyncio.run(run())


def test_a_source_that_does_not_let_go_is_named_and_nothing_is_reset(machine):
    async def run():
        source = Pausable(Holding(machine, letting_go=False))
        await source.open(None)
        return await reset(machine.programs, [source], UUID, BDF, unsaid)

    outcome = asyncio.run(run())
    assert (outcome.state, outcome.reason) == ("refused", "busy")
    assert f"({os.getpid()})" in outcome.detail
    assert machine.resets() == []


def _running(program):
    """Whether any process of it is left; the kernel may take a moment to bury one."""
    for _ in range(100):
        found = subprocess.run(["grep", "-lsaF", program, *_command_lines()], capture_output=True, text=True).stdout
        if not found:
            return False
        time.sleep(0.05)
    return True


def _command_lines():
    own = {str(os.getpid()), "self", "thread-self"}
    return [f"/proc/{pid}/cmdline" for pid in os.listdir("/proc") if pid.isdecimal() and pid not in own]


def _of_another_user(process):
    """`Path.iterdir` as it is for whoever does not own that process: root cannot be refused by a mode."""
    really = holders.Path.iterdir

    def iterdir(path):
        if str(path) == f"{process}/fd":
            raise PermissionError(13, "Permission denied")
        return really(path)

    return iterdir
