"""A program that is run under a deadline, with what it printed. It may hang in the driver, and not even die then."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

OUTPUT_MAX = 4 << 20  # of what is read; the rest is let go
DYING_S = 5.0  # after it was killed


class Ran(NamedTuple):
    """status: its exit status; None = it was killed at the deadline. output: both of its streams."""

    status: int | None
    output: str


class NotRun(Exception):
    """The program could not even be started; the text says why."""


async def run(command: Sequence[str], deadline_s: float) -> Ran:
    """Everything that it started goes with it, at the deadline and when this is cancelled. Raises NotRun."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NotRun(f"{command[0]}: {(error.strerror or str(error)).lower()}") from None
    assert process.stdout is not None
    pieces = bytearray()
    status: int | None = None
    try:
        async with asyncio.timeout(deadline_s):
            await _read(process.stdout, pieces)
            status = await process.wait()
    except TimeoutError:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if status is None:
        with suppress(TimeoutError):  # stuck in the kernel: it dies when the driver lets it
            async with asyncio.timeout(DYING_S):
                await process.wait()
    return Ran(status, pieces.decode("utf-8", "backslashreplace"))


async def _read(stream: asyncio.StreamReader, into: bytearray) -> None:
    while piece := await stream.read(1 << 16):
        into += piece[: max(0, OUTPUT_MAX - len(into))]
