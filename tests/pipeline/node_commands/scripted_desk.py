"""A desk as a process of its own, told one command, and killed at its Nth step if it comes that far.

    python -m tests.pipeline.node_commands.scripted_desk DIRECTORY NOW_MS KILL_AT

Steps: before and after each line of the journal and each word to the spool, and before and after nvidia-smi runs.
What it says goes to a real spool in DIRECTORY. Prints how many steps there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from pipeline.log import Entry
from pipeline.node_commands.desk import Desk
from pipeline.node_commands.journal import Journal
from pipeline.spool.spool import Spool
from pipeline.spool.store import Store
from producers.commands import reset
from producers.commands.hands import Hands
from schemas import commands, records, signing, topics
from schemas.commands import PublicKey
from schemas.fencing import Here
from tests.producers.commands.standins import BDF, UUID, Machine

PRIVATE = bytes(range(32))
KEYS = {"k1": PublicKey(signing.public_half(PRIVATE))}
HERE = Here("n1", "default", "b1", {})


def command(now_ms: int, **changes: object) -> records.Command:
    fields = {
        "ts": now_ms,
        "node": "n1",
        "id": "c1",
        "action": "reset",
        "uuid": UUID,
        "bdf": BDF,
        "boot": "b1",
        "sequence": now_ms,
        "expires": now_ms + 600_000,
    }
    return commands.signed(records.Command(**{**fields, **changes}), "k1", PRIVATE)  # type: ignore[arg-type]


class Killer:
    def __init__(self, at: int) -> None:
        self.steps = 0
        self._at = at

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


class KillableJournal(Journal):
    killer: Killer

    def put(self, entry):  # type: ignore[no-untyped-def]
        self.killer.step()
        super().put(entry)
        self.killer.step()


async def main(directory: Path, now_ms: int, kill_at: int) -> None:
    killer = Killer(kill_at)
    KillableJournal.killer = killer
    machine = Machine(directory)
    machine.use()
    really = reset.run

    async def run(*arguments):  # type: ignore[no-untyped-def]
        killer.step()
        ran = await really(*arguments)
        killer.step()
        return ran

    reset.run = run
    spool = Spool(Store(directory / "spool", 1 << 20, boot="b1", now_ms=now_ms))

    async def report(said):  # type: ignore[no-untyped-def]
        killer.step()
        stamped = [spool.numbering.stamp(each) for each in said]
        await spool.append(topics.OBSERVATIONS, [Entry(each.node, each.kind, each.value) for each in stamped])
        killer.step()
        return await spool.settle()

    journal = KillableJournal(directory / "commands.journal")
    hands = Hands(machine.programs, [])
    desk = Desk(lambda: HERE, lambda: KEYS, journal, hands, report, enabled=True, now=lambda: now_ms)
    await desk.resume()
    await desk.hear(command(now_ms), 7)  # Kafka says it again after each death: same offset
    while desk._tasks:
        await asyncio.wait(desk._tasks)
    await desk.close()
    await spool.close()
    print(killer.steps)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
