"""A source that lets go of the GPUs when it is asked to, and takes them up again."""

from __future__ import annotations

import asyncio

from producers.source import Observed, Source

IDLE_S = 0.2
READ_MARGIN_S = 5.0  # beyond the source's own deadline


class Pausable(Source):
    """As `inner`; between `pause` and `resume` it is closed, and has nothing new to say.

    What it cannot take up again is told by its supervisor, as after any failure.
    """

    def __init__(self, inner: Source) -> None:
        self.name = inner.name
        self.owns_clock = inner.owns_clock
        self.deadline_s = inner.deadline_s  # type: ignore[misc]
        self._inner = inner
        self._used = asyncio.Lock()
        self._after: str | None = None
        self._pauses = 0
        self._closed = False  # by a pause

    async def open(self, after: str | None) -> None:
        self._after = after
        async with self._used:
            if self._pauses:
                self._closed = True
                return
            self._closed = False
            await self._inner.open(after)

    async def read(self) -> list[Observed]:
        if self._pauses:
            await asyncio.sleep(IDLE_S)
            return []
        async with self._used:
            if self._closed:
                self._closed = False
                await self._inner.open(self._inner.position() or self._after)
                return []
            return await self._inner.read()

    def position(self) -> str | None:
        return self._inner.position()

    async def close(self) -> None:
        await self._inner.close()

    async def pause(self) -> None:
        """Returns once it has let go. Raises TimeoutError: it does not; it is paused all the same until `resume`."""
        self._pauses += 1
        async with asyncio.timeout(self.deadline_s + READ_MARGIN_S), self._used:
            await self._inner.close()
            self._closed = True

    def resume(self) -> None:
        """Once for each `pause`."""
        self._pauses -= 1
