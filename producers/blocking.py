"""Calls that may block for ever, kept away from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from producers.source import SourceError
from schemas.sources import HUNG

T = TypeVar("T")


class Blocking:
    """Runs one call at a time in a thread of its own.

    A call that never returns costs one thread, however often the source is tried again, and unlike the threads
    of asyncio's pool it does not keep the process from ending. After a deadline nobody waits for it and it may
    still be running: what it changes must not be used again.
    """

    def __init__(self) -> None:
        self._running: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._running is not None and self._running.is_alive()

    async def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises. Raises SourceError while an earlier call has not come back."""
        if self.busy:
            raise SourceError("an earlier call has not come back yet", cause=HUNG)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def deliver(result: T | None, error: BaseException | None) -> None:
            if answer.done():  # cancelled by a deadline
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = function()
            except BaseException as caught:
                error = caught
            self._running = None
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                loop.call_soon_threadsafe(deliver, result, error)

        thread = threading.Thread(target=run, daemon=True)
        self._running = thread
        thread.start()
        return await answer
