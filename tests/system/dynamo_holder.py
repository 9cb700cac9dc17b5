"""Drains the workers of a GPU, says so, and waits to be killed: discovery, its place, state directory, UUID."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pipeline.schedulers.dynamo import DynamoSettings, build
from sinks.schedulers.adapter import Gpu


async def main(settings: DynamoSettings, uuid: str) -> None:
    adapter = build(settings, {})
    gpu = Gpu("n1", uuid, "")
    for unit in (await adapter.units([gpu]))[gpu]:
        await adapter.drain(unit, "a test")
    print("drained", flush=True)
    await asyncio.Event().wait()


discovery, place, state, uuid = sys.argv[1:]
where = {"file_kv": place} if discovery == "file" else {"endpoints": [place]}
asyncio.run(main(DynamoSettings(discovery=discovery, state_dir=str(Path(state)), **where), uuid))
