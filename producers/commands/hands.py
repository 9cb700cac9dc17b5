"""All that a command can make this node do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from producers.commands import diagnose, node, reset
from producers.commands.node import Programs
from producers.commands.outcome import Begin, Outcome
from producers.commands.pausable import Pausable
from schemas.commands import RESET
from schemas.records import Command


class Hands:
    """sources: of this agent, which let go of the GPUs where that is needed."""

    def __init__(self, programs: Programs, sources: Sequence[Pausable]) -> None:
        self._programs = programs
        self._sources = sources

    async def gpus(self) -> dict[str, str]:
        """UUID -> PCI address, as they are now."""
        return await node.gpus(self._programs)

    def would(self, command: Command) -> str:
        """What `do` would run, as one types it."""
        if command.action == RESET:
            return shlex.join(reset.command_line(self._programs, command.uuid))
        return shlex.join(diagnose.command_line(self._programs, _level(command), command.uuid))

    async def do(self, command: Command, bdf: str, begin: Begin) -> Outcome:
        """command: a reset or a diagnostic. bdf: of the GPU that it names."""
        if command.action == RESET:
            return await reset.reset(self._programs, self._sources, command.uuid, bdf, begin)
        return await diagnose.diagnose(
            self._programs, command.cluster, command.node, command.uuid, bdf, _level(command), begin
        )


def _level(command: Command) -> int:
    return int(command.parameters.get("level", diagnose.LEVEL))
