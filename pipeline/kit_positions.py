"""Contract kit: what must be true of whatever remembers how far sources have read, as a check that anybody can run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from pipeline.log import Entry, SourceIngress
from schemas.topics import OBSERVATIONS


class OpenSourceIngress(SourceIngress, Protocol):
    """What remembers how far sources have read, as the kit opens it."""

    async def close(self) -> None: ...


async def check_positions(make: Callable[[], Awaitable[OpenSourceIngress]]) -> None:
    """Check that positions of sources are remembered. make: as for `pipeline.kits.check_log`."""
    ingress = await make()
    try:
        assert await ingress.position("kit") is None
        await ingress.append(OBSERVATIONS, [Entry("a", "x", b"5", 1_200)], "kit", "line 1")
        assert await ingress.position("kit") == "line 1"
        await ingress.append(OBSERVATIONS, [], "kit", "line 2")
        assert await ingress.position("kit") == "line 2", "a position moves without entries, too"
        assert await ingress.position("other") is None
    finally:
        await ingress.close()
    ingress = await make()
    try:
        assert await ingress.position("kit") == "line 2", "positions outlive the process"
    finally:
        await ingress.close()
