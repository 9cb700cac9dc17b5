"""A command of the operator's about one worker: run without a shell, under a deadline."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from sinks.schedulers.adapter import Away

NAMES = ("instance", "address")
WORDS_MAX = 300
DYING_S = 5.0  # after it was killed


class OperatorCommand:
    """words: the program and its arguments, in which `{instance}` and `{address}` stand for the worker's own."""

    def __init__(self, words: Sequence[str], deadline_s: float) -> None:
        self._words, self._deadline_s = words, deadline_s

    async def run(self, about: Mapping[str, str]) -> None:
        """Raises Away: it could not be started, it failed, or it was killed at the deadline with what it started."""
        words = [_filled(word, about) for word in self._words]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Away(f"{words[0]}: {(error.strerror or str(error)).lower()}") from None
        said = b""
        done = False
        try:
            async with asyncio.timeout(self._deadline_s):
                _, said = await process.communicate()
                done = True
        except TimeoutError:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if not done:
            with suppress(TimeoutError):
                async with asyncio.timeout(DYING_S):
                    await process.communicate()
            raise Away(f"{words[0]}: not done after {self._deadline_s:g} s, killed")
        if process.returncode:
            last = " ".join(said.decode("utf-8", "replace").split())[-WORDS_MAX:]
            raise Away(f"{words[0]}: exit status {process.returncode}" + (f": {last}" if last else ""))


def _filled(word: str, about: Mapping[str, str]) -> str:
    for name in NAMES:
        word = word.replace(f"{{{name}}}", about[name])
    return word
