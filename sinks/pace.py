"""How often something is done at most."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """At most `per_s` calls a second, none saved up."""

    def __init__(self, per_s: float) -> None:
        self._every_s = 1.0 / per_s
        self._next = 0.0

    async def __call__(self) -> None:
        now = time.monotonic()
        await asyncio.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + self._every_s
