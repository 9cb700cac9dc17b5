"""The commands of an agent, from Kafka to the spool."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pipeline.command_inbox import SOURCE, CommandInbox
from pipeline.node_commands.desk import Desk
from pipeline.node_commands.journal import Journal
from pipeline.node_commands.keys import public_keys
from pipeline.node_commands.mode import mode
from pipeline.settings import Settings
from pipeline.spool import place
from pipeline.spool.spool import Spool
from producers.commands.hands import Hands
from producers.commands.node import Programs
from producers.commands.pausable import Pausable
from producers.driver import boot_id
from producers.source import Observed, Source
from producers.supervisor import Append
from schemas.commands import Keys
from schemas.fencing import Here

JOURNAL = "commands.journal"  # beside the spool
HOLDING = ("dcgm", "nvml")  # sources that have GPUs open, or watched


def pausable(source: Source) -> Source:
    """`source`, so that it can let go of the GPUs, if it holds any."""
    return Pausable(source) if source.name.partition(":")[0] in HOLDING else source


class Reception:
    """append: puts what is said into the spool, with the position of commands. Raises UsageProblem: keys."""

    def __init__(self, settings: Settings, node: str, spool: Spool, append: Append, sources: Sequence[Source]) -> None:
        given = settings.commands
        found = mode(given)
        self.words = found.words
        self._kafka = settings.kafka
        self._node = node
        self._spool = spool
        self._append = append
        directory = None if spool.store.trouble else place.directory(settings.agent.spool_dir)
        programs = Programs(given.nvidia_smi, given.dcgmi, given.reset_s, given.diagnose_s)
        self.desk = Desk(
            lambda: Here(node, settings.cluster, boot_id(), {}),
            partial(_keys, given.keys),
            Journal(directory / JOURNAL if directory else None),
            Hands(programs, [source for source in sources if isinstance(source, Pausable)]),
            self._report,
            enabled=found.enabled,
            at_once=given.at_once,
        )

    async def run(self) -> None:
        """Until it is cancelled."""
        await self.desk.resume()
        await CommandInbox(self._kafka, self._node, await self._spool.position(SOURCE), self._passed).run(self.desk)

    async def _report(self, said: Sequence[Observed]) -> bool:
        await self._append(said, source=SOURCE, position=None)
        return await self._spool.settle()

    async def _passed(self, position: str) -> None:
        await self._append([], source=SOURCE, position=position)


def _keys(path: str | None) -> Keys:
    """Read anew for each command, so that a key which is taken away counts no more at once."""
    return public_keys(path) if path else {}
