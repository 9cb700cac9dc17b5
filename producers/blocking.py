"""Calls that may block for ever, kept away from the event loop."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

from producers.source import SourceError
from schemas.sources import HUNG

T = TypeVar("T")


class Blocking:
    """Runs one call at a time in a thread of its own, the same for all its calls: to start one costs half a
    millisecond. The thread ends when nobody holds this object any more.

    A call that never returns costs one thread, however often the source is tried again, and unlike the threads
    of asyncio's pool it does not keep the process from ending. After a deadline nobody waits for it and it may
    still be running: what it changes must not be used again.
    """

    def __init__(self) -> None:
        self.busy = False  # a call has not come back yet
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = False

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
            self.busy = False
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                loop.call_soon_threadsafe(deliver, result, error)

        if not self._started:
            threading.Thread(target=_work, args=(self._jobs,), daemon=True).start()
            weakref.finalize(self, self._jobs.put, None)
            self._started = True
        self.busy = True
        self._jobs.put(run)
        return await answer


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    """Until there is None to do."""
    while (job := jobs.get()) is not None:
        job()
        del job  # it holds the object that this thread is to outlive by nothing
