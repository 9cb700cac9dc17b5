"""What this machine's own sources say within some seconds, with the times at which it was so. It judges nothing.

Imports neither numpy nor stages: who asks waits for the machine, not for us.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from producers import journal
from producers.catalog import open_source
from producers.host import hostname, now_ms
from producers.kernel_faults import KIND
from producers.machine import Machine
from producers.source import Ended, Observed, Source
from producers.watched import WATCHED, in_words
from schemas import frames, records
from schemas.counts import counted

SECONDS = 5.0
CATCH_UP_S = 30.0  # for what the kernel has said since the machine started
IDLE_S = 0.05  # for a source that has nothing new and does not wait itself
CLOSE_S = 5.0
KERNEL = ("kmsg", "journal")

log = logging.getLogger(__name__)


class Here(msgspec.Struct, kw_only=True):
    """The machine that was looked at. models: how many GPUs of each; "" where it is not told."""

    node: str
    sources: list[str]
    seconds: float
    driver: str = ""
    models: dict[str, int] = {}


class Heard(NamedTuple):
    """began: when, ms. said: with append times; who the GPUs are comes first. unread: what could not be read.
    notes: to know.
    """

    here: Here
    began: int
    said: list[Observed]
    unread: list[str]
    notes: list[str]


Open = Callable[[str, str | None, str], Source]


def live_source(name: str, node: str | None, cluster: str) -> Source:
    """Each sample is told by itself, so that none is held back when the time is over."""
    return open_source(name, node=node, cluster=cluster, publish_s=0.0)


def listen(
    there: Machine,
    seconds: float = SECONDS,
    *,
    node: str | None = None,
    cluster: str = "default",
    source: Open = live_source,
) -> Heard:
    """Read the sources of `there`, all at once, for `seconds` from when each of them is open; then let go of them.

    The kernel's are read to their end: what was said since the machine started is evidence of now.
    """
    began = now_ms()
    answers, notes = asyncio.run(_all(there, seconds, node, cluster, source))
    said = [observed for each, _ in answers for observed in each]
    unread = [trouble for _, trouble in answers if trouble]
    here = Here(node=node or hostname(), sources=there.sources, seconds=seconds)
    for inventory in (msgspec.json.decode(one.value, type=records.Inventory) for one in said if _lists(one)):
        here.driver, here.models = inventory.driver, dict(Counter(gpu.model for gpu in inventory.gpus))
    if not any(name in KERNEL for name in there.sources):
        notes.append(f"the kernel's messages were not read: {'; '.join(there.lacks)}; run as root to read them")
    return Heard(here, began, _known_first(said), unread, notes + _untold(said))


async def _all(
    there: Machine, seconds: float, node: str | None, cluster: str, source: Open
) -> tuple[list[tuple[list[Observed], str]], list[str]]:
    notes: list[str] = []
    reading = [_hear(source(name, node, cluster), seconds, notes) for name in there.sources]
    answers, silences = await asyncio.gather(asyncio.gather(*reading), _silences(there.sources))
    return list(answers), notes + silences


async def _silences(names: Sequence[str]) -> list[str]:
    """Who may not read the journal hears nothing of that: it looks like one without messages."""
    found = await journal.findings() if "journal" in names else []
    return [
        f"the kernel's messages were not read: journal: {'; '.join(filter(None, (each.found, each.fix)))}"
        for each in found
        if each.state != "ok"
    ]


async def _hear(source: Source, seconds: float, notes: list[str]) -> tuple[list[Observed], str]:
    """What a source says, and what went wrong."""
    said: list[Observed] = []
    doing = "opened"
    try:
        async with asyncio.timeout(source.deadline_s):
            await source.open(None)
        doing = "read"
        await _read(source, seconds, said, notes)
    except Ended:
        pass
    except TimeoutError:
        return said, f"{source.name}: could not be {doing} within {source.deadline_s:g} s"
    except Exception as error:  # also where it crashes: what the others say counts all the same
        text = str(error) or type(error).__name__
        return said, text if text.startswith(source.name) else f"{source.name}: {text}"
    finally:
        await _close(source)
    if source.name not in KERNEL and not any(one.kind == frames.KIND for one in said):
        return said, f"{source.name}: no sample came within {seconds:g} s"
    return said, ""


async def _close(source: Source) -> None:
    """A driver that hangs does not let go either; that it hangs has been told."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await source.close()
    except Exception as error:
        log.debug("%s: could not be closed: %r", source.name, error)


async def _read(source: Source, seconds: float, said: list[Observed], notes: list[str]) -> None:
    clock = asyncio.get_running_loop().time
    began, patience_s = clock(), max(seconds, CATCH_UP_S)
    behind = False
    while clock() < began + seconds or (behind and clock() < began + patience_s):
        before = source.position()
        async with asyncio.timeout(source.deadline_s):
            found = await source.read()
        said += map(_dated, found)
        behind = source.name in KERNEL and source.position() != before
        if not found:
            await asyncio.sleep(IDLE_S)
    if behind:
        notes.append(f"{source.name}: the kernel still had something to say after {patience_s:g} s")


def _dated(observed: Observed) -> Observed:
    """With its append time: a kernel's fault when it happened, so that what has passed since then has passed."""
    now = now_ms()
    if observed.kind == KIND:
        return observed._replace(ts=min(now, msgspec.json.decode(observed.value, type=records.KernelFault).ts))
    return observed._replace(ts=now)


def _known_first(said: Sequence[Observed]) -> list[Observed]:
    """Who the GPUs are has been so when the kernel spoke of them, if only by their addresses."""
    first = min((one.ts or 0 for one in said), default=0)
    known = next((one for one in said if _lists(one)), None)
    others = [one for one in said if one is not known]
    return ([known._replace(ts=first)] if known else []) + others


def _untold(said: Sequence[Observed]) -> list[str]:
    """The fields without a value. Nothing can be done about them: they differ from model to model."""
    asked: set[int] = set()
    told: set[int] = set()
    for frame in (frames.decode(one.value) for one in said if one.kind == frames.KIND):
        for field, values in frame.columns():
            asked.add(field)
            if field not in told and any(value == value for value in values):
                told.add(field)
    untold = [field for field in WATCHED if field in asked - told]
    if not (told and untold):
        return []
    lacking = counted(len(untold), f"of {len(asked)} fields has", f"of {len(asked)} fields have")
    return [f"{lacking} no value here, which is no fault: {in_words(untold)}"]


def _lists(observed: Observed) -> bool:
    return observed.kind == "inventory"
