"""`nvidia-smi --gpu-reset`, only on a GPU that nobody uses.

It needs root, and that nothing has the GPU open: no CUDA process, no host engine, no exporter, no persistence daemon.
What this agent itself has open is let go of for as long as it takes.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from producers.commands import holders, node
from producers.commands.node import Programs
from producers.commands.outcome import DONE, FAILED, NVIDIA_SMI, Begin, Outcome, in_words, refused, tail
from producers.commands.pausable import Pausable
from producers.commands.tool import NotRun, run

IN_USE = "In use by another client"


def command_line(programs: Programs, uuid: str) -> list[str]:
    return [programs.nvidia_smi, "--gpu-reset", "-i", uuid]


async def reset(programs: Programs, sources: Sequence[Pausable], uuid: str, bdf: str, begin: Begin) -> Outcome:
    """sources: of this agent, which may have the GPU open; they go on afterwards, whatever comes of it."""
    if busy := await _busy(programs, uuid, bdf, but={os.getpid()}):
        return busy
    try:
        async with _released(sources):
            return await _busy(programs, uuid, bdf) or await _reset(programs, uuid, begin)
    except TimeoutError:
        return refused("busy", "this agent's own source does not let go of the GPUs: the driver hangs, it seems")


@asynccontextmanager
async def _released(sources: Sequence[Pausable]) -> AsyncIterator[None]:
    pausing = []
    try:
        for source in sources:
            pausing.append(source)
            await source.pause()
        yield
    finally:
        for source in pausing:
            source.resume()


async def _busy(programs: Programs, uuid: str, bdf: str, but: Collection[int] = ()) -> Outcome | None:
    """Why it may not be reset now."""
    open_by = await node.open_by(bdf)
    if open_by is None:
        return refused("unseen", f"the driver does not tell which device {uuid} is, so nobody knows who uses it")
    seen = {each.pid: each for each in [*await node.compute_processes(programs, uuid), *open_by.found]}
    if using := [each for pid, each in sorted(seen.items()) if pid not in but]:
        return refused("busy", f"in use by {holders.in_words(using)}")
    if open_by.unseen:
        return refused("unseen", _unseen(open_by.unseen))
    return None


def _unseen(count: int) -> str:
    """Root is kept from a process only by a container or a sandbox around the agent."""
    which = "1 process cannot be looked into and" if count == 1 else f"{count} processes cannot be looked into, any"
    fix = "run the agent as root"
    if os.geteuid() == 0:
        fix = "a container or sandbox hides them from this agent: run it outside, or give it CAP_SYS_PTRACE"
    return f"{which} may use it: {fix}"


async def _reset(programs: Programs, uuid: str, begin: Begin) -> Outcome:
    await begin()
    try:
        ran = await run(command_line(programs, uuid), programs.reset_s)
    except NotRun as error:
        return Outcome(FAILED, str(error))
    output = tail(ran.output)
    if ran.status is None:
        late = f"nvidia-smi did not end within {programs.reset_s:g} s and was killed: what was reset is not known"
        return Outcome(FAILED, late, "deadline", None, output)
    if ran.status == 0:
        return Outcome(DONE, "the GPU was reset", status=0, output=output)
    if IN_USE in ran.output:
        return Outcome(FAILED, "nvidia-smi says that another client uses it", "busy", ran.status, output)
    return Outcome(FAILED, in_words(NVIDIA_SMI, ran.status), "tool", ran.status, output)
