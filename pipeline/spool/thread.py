"""A thread for calls that may block, one after the other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Thread:
    """Runs what it is given in the order in which it is given. It does not keep the process from ending.

    busy_since: `time.monotonic()` at which the call that runs now has begun; None = idle.
    """

    def __init__(self, name: str) -> None:
        self.busy_since: float | None = None
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """What `function` returns or raises; it is in line when this returns, and runs even if nobody waits."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as caught:
                error = caught
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                loop.call_soon_threadsafe(_deliver, answer, result, error)

        self._calls.put(run)
        return answer

    def end(self) -> None:
        """After what is in line."""
        self._calls.put(None)

    def _run(self) -> None:
        while call := self._calls.get():
            self.busy_since = time.monotonic()
            call()
            self.busy_since = None


def _deliver(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():  # cancelled
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
