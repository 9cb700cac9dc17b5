"""`dcgmi diag` of one GPU, by a host engine that runs already.

Without one dcgmi would start an engine of its own inside itself, beside ours or nobody's: that is refused. It tells a
GPU by the engine's number, which is neither the driver's index nor the order on the bus: it is looked up by UUID.
"""

from __future__ import annotations

import os
import re

from producers.commands import holders, node
from producers.commands.node import ASK_S, Programs
from producers.commands.outcome import DCGMI, DONE, FAILED, Begin, Outcome, in_words, refused, tail
from producers.commands.tool import NotRun, run
from producers.host import now_ms
from schemas import diagnostic
from schemas.counts import counted
from schemas.records import Diagnostic

LEVEL = 2
A_TEST_FAILED, ISOLATE = 226, 205
RAN = (0, A_TEST_FAILED, ISOLATE)  # exit statuses after which there are results
NO_ENGINE = "unable to establish"  # what dcgmi prints before it goes on with an engine of its own
ROW = re.compile(r"^\|\s*(\d*)\s*\|(.*)\|\s*$")
UUID = re.compile(r"Device UUID:\s*(GPU-[0-9a-f-]+)")
TOOL = "dcgmi diag"


def command_line(programs: Programs, level: int, number: int | str) -> list[str]:
    """number: the one of the GPU in the engine; in words, its UUID."""
    return [programs.dcgmi, "diag", "-r", str(level), "-j", "-i", str(number)]


async def diagnose(
    programs: Programs, cluster: str, who: str, uuid: str, bdf: str, level: int, begin: Begin
) -> Outcome:
    """who: this node. The tests must have the GPU for themselves: others would fail them, and suffer."""
    if busy := await _busy(programs, uuid, bdf):
        return busy
    try:
        listed = await run([programs.dcgmi, "discovery", "-l"], ASK_S)
        if listed.status != 0 or NO_ENGINE in listed.output:
            return refused("engine", f"no host engine to run it: {_why(listed.status)}")
        number = numbers(listed.output).get(uuid)
        if number is None:
            return refused("engine", f"the host engine knows no GPU {uuid}")
    except NotRun as error:
        return refused("engine", str(error))
    await begin()
    started = now_ms()
    try:
        ran = await run(command_line(programs, level, number), programs.diagnose_s)
    except NotRun as error:
        return Outcome(FAILED, str(error))
    output = tail(ran.output)
    if ran.status is None:
        late = f"the diagnostic did not end within {programs.diagnose_s:g} s and was killed"
        return Outcome(FAILED, late, "deadline", None, output)
    if ran.status not in RAN or NO_ENGINE in ran.output:
        return Outcome(FAILED, in_words(DCGMI, ran.status), "tool", ran.status, output)
    try:
        found = diagnostic.parse(ran.output, level)
    except ValueError as error:
        return Outcome(FAILED, str(error), "output", ran.status, output)
    return _judged(
        found,
        number,
        ran.status,
        output,
        Diagnostic(
            ts=now_ms(),
            cluster=cluster,
            node=who,
            uuid=uuid,
            bdf=bdf,
            tool=TOOL,
            level=level,
            result="",
            started=started,
        ),
    )


def numbers(listed: str) -> dict[str, int]:
    """UUID -> the engine's number, of what `dcgmi discovery -l` prints."""
    found: dict[str, int] = {}
    number = ""
    for line in listed.splitlines():
        if row := ROW.match(line):
            number = row[1] or number
            if number and (uuid := UUID.search(row[2])):
                found[uuid[1]] = int(number)
    return found


def _judged(found: diagnostic.Run, number: int, status: int, output: str, said: Diagnostic) -> Outcome:
    """What the results amount to; where they and the exit status disagree, they prove nothing."""
    if found.error:
        return Outcome(FAILED, f"the diagnostic did not run: {found.error}", "tool", status, output)
    own = next((gpu for gpu in found.gpus if gpu.number == number), None)
    if own is None:
        return Outcome(FAILED, f"the output tells nothing of GPU {number}", "output", status, output)
    if (status != 0) != (own.result == "fail"):
        differ = f"{in_words(DCGMI, status)}, but the output says {own.result!r}: that proves nothing"
        return Outcome(FAILED, differ, "output", status, output)
    said.result, said.tests = own.result, own.tests
    return Outcome(DONE, f"level {said.level}: {_words(own)}", own.result, status, output, said)


def _words(own: diagnostic.GpuResult) -> str:
    names = [test.name for test in own.tests if test.result == own.result]
    if own.result in ("fail", "warn"):
        return f"{own.result}: {', '.join(names)}"
    if own.result == "incomplete":
        ran = ", ".join(test.name for test in own.tests if test.result != "skip") or "nothing"
        return f"incomplete, which proves nothing: only {ran} ran"
    return f"{counted(len(names), 'test')} passed"


async def _busy(programs: Programs, uuid: str, bdf: str) -> Outcome | None:
    open_by = await node.open_by(bdf)
    seen = {each.pid: each for each in await node.compute_processes(programs, uuid)}
    if open_by:
        seen |= {each.pid: each for each in open_by.found if each.name not in holders.MONITORS}
    seen.pop(os.getpid(), None)
    if not seen:
        return None
    return refused("busy", f"in use by {holders.in_words(each for _, each in sorted(seen.items()))}")


def _why(status: int | None) -> str:
    return f"`dcgmi discovery -l` did not answer within {ASK_S:g} s" if status is None else in_words(DCGMI, status)
