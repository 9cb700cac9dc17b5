"""Drains, empties and returns a node, and is killed (SIGKILL) before or after one of its changes.

Usage: python -m tests.system.slurm_killed SLURM.CONF CHANGE AFTER
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from sinks.schedulers.slurm.adapter import Slurm
from sinks.schedulers.slurm.commands import Commands
from sinks.schedulers.slurm.names import NodeNames

CHANGES = ("change", "requeue", "cancel")


class Killed(Commands):
    def __init__(self, conf: str, at: int, after: bool) -> None:
        super().__init__("", conf, 30.0, os.environ)
        self._left, self._after = at, after

    def __getattribute__(self, name: str):
        call = super().__getattribute__(name)
        if name not in CHANGES:
            return call

        async def counted(*arguments):
            self._left -= 1
            if self._left == 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = await call(*arguments)
            if name == "requeue" and answer:
                self._left += 1  # nothing was changed
            elif self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return counted


async def main(conf: str, at: int, after: bool) -> None:
    slurm = Slurm(Killed(conf, at, after), NodeNames({}, ""), cancels=True)
    await slurm.drain("n0", "note")
    await slurm.force("n0", "note")
    while (await slurm.look(["n0"]))["n0"].state != "removed":
        await asyncio.sleep(0.1)
    await slurm.add("n0")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"))
