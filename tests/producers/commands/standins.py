"""A machine with two GPUs for the tools to act on: the driver's files, devices, and programs that record their calls.

The programs do what their real ones do as far as it was observed: exit statuses, what is printed and where to.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from producers import driver
from producers.commands import holders
from producers.commands.node import Programs

UUID, OTHER = "GPU-11111111-2222-3333-4444-555555555555", "GPU-66666666-7777-8888-9999-000000000000"
BDF, OTHER_BDF = "0000:1b:00", "0000:43:00"

NVIDIA_SMI = """#!{python}
import os, sys, time
here = {directory!r}
def read(name):
    path = os.path.join(here, name)
    return open(path).read() if os.path.exists(path) else ""
arguments = sys.argv[1:]
if arguments[0].startswith("--query-compute-apps"):
    print(read("compute"), end="")
elif arguments[0] == "--gpu-reset":
    with open(os.path.join(here, "resets"), "a") as log:
        print(*arguments, file=log)
        log.flush()
        os.fsync(log.fileno())
    mode = read("mode") or "ok"
    time.sleep(float(read("takes_s") or 0))
    while read("held"):
        time.sleep(0.01)
    if mode == "ok":
        print("GPU 00000000:1B:00.0 was successfully reset.\\nAll done.")
    elif mode == "busy":
        print("The following GPUs could not be reset:")
        print("  GPU 00000000:1B:00.0: In use by another client")
        print("\\n1 device is currently being used by one or more other processes.")
        sys.exit(255)
    elif mode == "hang":
        print("resetting", flush=True)
        os.fork()
        time.sleep(600)
    else:
        print("it did not work")
        sys.exit(int(mode))
"""


class Machine:
    """Made in `directory`; `use` makes this process believe in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.gpus = directory / "proc-gpus"
        self.proc = directory / "proc"
        self.devices = f"{directory}/nvidia"
        for minor, (uuid, bdf) in enumerate([(UUID, BDF), (OTHER, OTHER_BDF)]):
            shown = self.gpus / f"{bdf}.0"
            shown.mkdir(parents=True, exist_ok=True)
            (shown / "information").write_text(
                f"Model: \t\t NVIDIA H100\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
            )
            Path(f"{self.devices}{minor}").touch()
        self.programs = Programs(self.program("nvidia-smi", NVIDIA_SMI), str(directory / "no-dcgmi"), 60.0, 60.0)

    def program(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text.format(python=sys.executable, directory=str(self.directory)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    def say(self, name: str, text: str) -> None:
        """What the programs read there."""
        (self.directory / name).write_text(text)

    def hold(self) -> None:
        """A reset goes on until `release`."""
        self.say("held", "held")

    def release(self) -> None:
        (self.directory / "held").unlink()

    def look(self) -> None:
        """Show the processes that there are now, without those that a container hides from its root."""
        self.proc.mkdir(exist_ok=True)
        for link in self.proc.iterdir():
            link.unlink()
        for process in Path("/proc").iterdir():
            if process.name.isdecimal() and _readable(process / "fd"):
                (self.proc / process.name).symlink_to(process)

    def resets(self) -> list[str]:
        """How often nvidia-smi was told to reset, and what."""
        log = self.directory / "resets"
        return log.read_text().splitlines() if log.exists() else []

    def use(self, setattr_: Callable[[Any, str, Any], None] = setattr) -> None:
        """setattr_: a test's own, which takes it back."""
        setattr_(driver, "GPUS", self.gpus)
        setattr_(holders, "DEVICES", self.devices)
        setattr_(holders, "PROC", self.proc)
        self.look()


def _readable(directory: Path) -> bool:
    try:
        for link in directory.iterdir():
            with suppress(FileNotFoundError):
                os.readlink(link)
    except OSError:
        return False
    return True


async def unsaid() -> None:
    """That something begins, where nobody wants to know it."""
