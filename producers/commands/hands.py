"""All that a command can make this node do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from producers.commands import node, reset
from producers.commands.node import Programs
from producers.commands.outcome import Outcome, refused
from producers.commands.pausable import Pausable
from schemas.commands import RESET
from schemas.records import Command

NOT_YET = "this agent does no {!r}"


class Hands:
    """sources: of this agent, which let go of the GPUs where that is needed."""

    def __init__(self, programs: Programs, sources: Sequence[Pausable]) -> None:
        self._programs = programs
        self._sources = sources

    async def gpus(self) -> dict[str, str]:
        """UUID -> PCI address, as they are now."""
        return await node.gpus(self._programs)

    def would(self, command: Command) -> str:
        """What `do` would run, as one types it; empty: it does no such thing."""
        if command.action == RESET:
            return shlex.join(reset.command_line(self._programs, command.uuid))
        return ""

    async def do(self, command: Command, bdf: str) -> Outcome:
        """bdf: of the GPU that it names."""
        if command.action == RESET:
            return await reset.reset(self._programs, self._sources, command.uuid, bdf)
        return refused("action", NOT_YET.format(command.action))
