"""Letting go of Kafka clients in any state: whoever ends, ends within seconds and without a complaint."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError

STOP_S = 3.0


async def let_go(client: Any) -> None:
    """Stop an aiokafka consumer or producer; harmless twice.

    A consumer that waits for its broker ends `stop` with a CancelledError that is nobody's, and leaves its
    connections open; one that cannot leave its group for want of a broker waits for it. So: in a task of its own,
    for so long, and then the connections are closed here.
    """
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait([stopping], timeout=STOP_S)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
        return
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(STOP_S):
            await (client.client if hasattr(client, "client") else client._client).close()
