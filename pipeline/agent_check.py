"""`gpu-vitals agent --check`: what an agent would find on this node, and how to mend what is not well."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence

from pipeline.errors import UsageProblem
from pipeline.kafka.settings import Kafka
from pipeline.plan import plan
from pipeline.settings import Settings
from producers import journal, kmsg
from producers.finding import Finding
from producers.machine import Machine, look
from producers.source import Ended, Source, SourceError

LONGEST_S = 45.0  # for one of the things that are looked at
TELEMETRY, KERNEL = ("dcgm", "nvml"), ("kmsg", "journal")
NO_LIBRARY = "signatures cannot be checked without the package cryptography, so all commands are refused"
SYNCHRONIZED = ("timedatectl", "show", "--property=NTPSynchronized", "--value")

Ask = Callable[[Kafka], Awaitable[list[Finding]]]


async def check(settings: Settings, look: Callable[[], Machine] = look, kafka: Ask | None = None) -> list[Finding]:
    """Everything that there is to say, in the order of the way from a GPU to Kafka.

    look: finds what the machine has. kafka: asks the brokers.
    """
    from pipeline.kafka import agent_check

    sources, found = _sources(settings, look)
    names = [source.name for source in sources] or [*TELEMETRY, *KERNEL]
    parts: list[Awaitable[list[Finding]]] = [_needed(name, sources) for name in names]
    parts += [_spool(settings), _commands(settings), (kafka or agent_check.findings)(settings.kafka), _synchronized()]
    *answers, own_clock = await asyncio.gather(*map(_within, parts))
    for answer in answers:
        found += answer
    compared = any(finding.what == "clock" for finding in found)  # the broker's clock is the one that counts
    return found if compared else found + own_clock


def _sources(settings: Settings, look: Callable[[], Machine]) -> tuple[list[Source], list[Finding]]:
    """The sources that an agent would read, and what is to be said of the choice."""
    try:
        sources = plan(settings, simulate=False, look=look).sources
    except UsageProblem as problem:
        return [], [Finding("sources", "error", problem.text, problem.help.partition("; `")[0])]
    names = [source.name for source in sources]
    chosen = ", ".join(names) + ("" if settings.sources else ": what this machine has, as none is named")
    found = [Finding("sources", "ok", chosen)]
    if any(_kind(name) in TELEMETRY for name in names) and not any(
        name in KERNEL or _kind(name) == "kernel-log" for name in names
    ):
        without = "none of them reads the kernel's messages, which tell of faults first and in full"
        found.append(Finding("sources", "warning", without, "add kmsg or journal"))
    return sources, found


async def _needed(name: str, sources: Sequence[Source]) -> list[Finding]:
    """As `_source`; what an agent shall read and is not there is an error."""
    found = await _source(name, sources)
    return [each._replace(state="error") if sources and each.state == "absent" else each for each in found]


async def _source(name: str, sources: Sequence[Source]) -> list[Finding]:
    """What a source says of itself; of others, whether they can be read."""
    if name == "kmsg":
        return await kmsg.findings()
    if name == "journal":
        return await journal.findings()
    if name == "nvml":
        from producers.nvml.findings import findings as nvml

        return await nvml()
    if _kind(name) == "dcgm":
        from producers.dcgm.check import findings as dcgm

        return await dcgm(name.removeprefix("dcgm").removeprefix("://"))
    return [await _tried(next(source for source in sources if source.name == name))]


async def _tried(source: Source) -> Finding:
    try:
        async with asyncio.timeout(source.deadline_s):
            await source.open(None)
            await source.read()
    except SourceError as error:
        return Finding(source.name, "error", str(error), "mend that, or leave the source out")
    except TimeoutError:
        return Finding(source.name, "error", f"no answer within {source.deadline_s:g} s", "see why it hangs")
    except Ended:
        pass
    finally:
        await source.close()
    return Finding(source.name, "ok", "can be read")


async def _spool(settings: Settings) -> list[Finding]:
    """Looked at, not entered: an agent may be at work there."""
    from pipeline.spool import place

    directory = place.directory(settings.agent.spool_dir)
    nearest = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        fix = "make it writable for this user, or name another one: spool_dir in [agent]"
        return [Finding("spool", "error", f"{directory}: this user may not write in {nearest}", fix)]
    held = sum(file.stat().st_size for file in directory.glob("*") if file.is_file())
    free, wanted = shutil.disk_usage(nearest).free + held, settings.agent.spool_bytes
    words = f"{directory}, up to {wanted >> 20} MiB"
    if free < wanted:
        fix = "make room, or lower spool_bytes in [agent]"
        return [Finding("spool", "warning", f"{words}, of which the disk has {free >> 20} MiB", fix)]
    return [Finding("spool", "ok", f"{words}{'' if directory.exists() else ' (not made yet)'}")]


async def _commands(settings: Settings) -> list[Finding]:
    """What commands would come to here."""
    from pipeline.node_commands.mode import mode

    try:
        found = mode(settings.commands)
    except UsageProblem as problem:
        return [Finding("commands", "error", problem.text, problem.help)]
    if found.keys and importlib.util.find_spec("cryptography") is None:
        return [Finding("commands", "error", NO_LIBRARY, "pip install 'gpu-vitals[commands]'")]
    if found.enabled and os.geteuid() != 0:
        fix = "run the agent as root: docs/agent/commands.md"
        return [Finding("commands", "warning", f"{found.words}; but this user may not reset GPUs", fix)]
    return [Finding("commands", "ok", found.words)]


async def _synchronized() -> list[Finding]:
    """What the machine itself says of its clock."""
    from pipeline.kafka.agent_check import MEND_CLOCK

    try:
        process = await asyncio.create_subprocess_exec(
            *SYNCHRONIZED, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return [Finding("clock", "absent", "no broker to compare it with, and no timedatectl")]
    answer = (await process.communicate())[0].strip()
    if answer == b"yes":
        return [Finding("clock", "ok", "is synchronized, says systemd")]
    if answer == b"no":
        return [Finding("clock", "warning", "is not synchronized, says systemd", MEND_CLOCK)]
    return [Finding("clock", "absent", "no broker to compare it with, and systemd does not say")]


async def _within(part: Awaitable[list[Finding]]) -> list[Finding]:
    """A part of the check that fails or hangs hides no other."""
    try:
        async with asyncio.timeout(LONGEST_S):
            return await part
    except TimeoutError:
        return [Finding("check", "error", f"a part of it hangs for more than {LONGEST_S:g} s", "see the kernel's log")]
    except Exception as error:
        return [Finding("check", "error", f"a part of it crashed: {type(error).__name__}: {error}", "report this")]


def _kind(name: str) -> str:
    return name.partition(":")[0]
