"""A whole Slurm in one box: munged, slurmctld, one slurmd for each of several nodes, on loopback, in a directory."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

NODES = ("n0", "n1", "n2")
CONF = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={at}/munge.sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/%n
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/%n.pid
SlurmctldLogFile={at}/slurmctld.log
SlurmdLogFile={at}/%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1
KillWait=2
SlurmdTimeout=300
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=hidden Nodes=ALL Hidden=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=100 Gres=gpu:2"
# Devices that every machine has: Slurm looks that they are there, and nobody opens them.
GRES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"
DEADLINE_S = 120.0  # a suspended job of Slurm 24.11 takes a minute to end


def eventually(holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class SlurmBox:
    def __init__(self, directory: Path) -> None:
        self.at = directory
        self.conf = directory / "slurm.conf"
        self.env = {**os.environ, "SLURM_CONF": str(self.conf)}
        self._stack = ExitStack()
        self._controller: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for name in ("state", *NODES):
            (self.at / name).mkdir()
        ports = _free_ports(1 + len(NODES))
        nodes = "\n".join(NODE.format(name=name, port=port) for name, port in zip(NODES, ports[1:], strict=True))
        self.conf.write_text(CONF.format(at=self.at, port=ports[0], user=getpass.getuser(), nodes=nodes))
        (self.at / "gres.conf").write_text(GRES)
        key = self.at / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        munge = {"socket": "munge.sock", "key-file": "munge.key", "log-file": "munged.log", "pid-file": "munged.pid"}
        munge["seed-file"] = "munged.seed"
        self._daemon(["munged", "--foreground", *(f"--{name}={self.at}/{file}" for name, file in munge.items())])
        eventually((self.at / "munge.sock").exists)
        if self.version() >= (23, 2):
            (self.at / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        self.start_controller()
        for name in NODES:
            self._daemon(["slurmd", "-D", "-N", name, "-f", str(self.conf)])
        self.settle()

    def stop(self) -> None:
        """Jobs first: their processes are not ours to end."""
        if self._controller is not None:
            self.settle()
        self._stack.close()

    def version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.run("scontrol", "--version").split()[-1].split(".")[:2])

    def start_controller(self) -> None:
        self._controller = self._daemon(["slurmctld", "-D", "-f", str(self.conf)])
        eventually(lambda: "UP" in self.run("scontrol", "ping"))

    def stop_controller(self) -> None:
        assert self._controller is not None
        self._controller.terminate()
        self._controller.wait()

    @contextmanager
    def stuck_controller(self):
        assert self._controller is not None
        self._controller.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._controller.send_signal(signal.SIGCONT)

    def start_rest(self) -> str:
        """slurmrestd on a Unix socket; its url."""
        path = self.at / "rest.sock"
        plugin = "slurmctld" if self.version() >= (23, 2) else "openapi/v0.0.38"
        command = ["slurmrestd", "-f", str(self.conf), "-s", plugin, "-a", "rest_auth/local", f"unix:{path}"]
        self._daemon(command, {**self.env, "SLURMRESTD_SECURITY": "disable_user_check"})
        eventually(path.exists)
        return f"unix:{path}"

    def run(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False).stdout

    def scontrol(self, *arguments: str) -> str:
        return subprocess.run(["scontrol", *arguments], env=self.env, capture_output=True, text=True, check=True).stdout

    def submit(self, script: str, *options: str) -> str:
        """A job's id. It runs until `script` ends."""
        ran = subprocess.run(
            ["sbatch", "--parsable", "--output=/dev/null", *options],
            input=f"#!/bin/sh\n{script}\n",
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
            cwd=self.at,
        )
        return ran.stdout.strip()

    def jobs(self) -> dict[str, str]:
        """State by id, of those that are not over."""
        return dict(line.split("|") for line in self.run("squeue", "--all", "-h", "-o", "%i|%T").splitlines())

    def running(self, *ids: str) -> None:
        eventually(lambda: all(self.jobs().get(each) == "RUNNING" for each in ids))

    def settle(self) -> None:
        """No job, and every node idle."""
        self.run("scancel", f"--user={getpass.getuser()}")
        eventually(lambda: not self.jobs())
        for name in NODES:
            self.run("scontrol", "update", f"nodename={name}", "state=resume", "comment=")
        eventually(lambda: self.run("sinfo", "-h", "-N", "-p", "all", "-o", "%T").split() == ["idle"] * len(NODES))

    def _daemon(self, command: list[str], env=None) -> subprocess.Popen[bytes]:
        out = self._stack.enter_context((self.at / f"{command[0]}.out").open("ab"))
        process = subprocess.Popen(command, env=env or self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._stack.callback(_end, process)
        return process


@contextmanager
def slurm_box():
    """Its directory is short, for the sockets, and readable, for the user who may not do anything."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))
    directory.chmod(0o755)
    box = SlurmBox(directory)
    try:
        box.start()
        yield box
    finally:
        box.stop()
        shutil.rmtree(directory)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
