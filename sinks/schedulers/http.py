"""Schedulers that serve the contract in docs/scheduler-http.openapi.yaml."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from sinks.schedulers.adapter import Adapter, Away, Capabilities, Gpu, Refused, Standing, State
from sinks.schedulers.watch import Told, Watch
from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.tracker import Later, Missing
from sinks.tickets.tracker import Refused as NotTaken

TIMEOUT_S = 5.0
ASKED_AT_ONCE = 100  # GPUs in the address of one request
ASKED_FOR_ALL = 1000  # from so many on one request for all is less
_STATES: dict[str, State] = {"serving": "serving", "drained": "drained", "removed": "removed"}


class _Answer(msgspec.Struct):
    gpus: list[Told]


class HttpScheduler(Adapter):
    """owner: how the scheduler knows us; what others hold is never touched.

    While the watch is live it tells how all GPUs stand; else each look asks. Whether it can force only its answer says.
    """

    name = "http"
    capabilities = Capabilities(weight="none", unit="gpu", in_flight=True, force=True)

    def __init__(self, url: str, token: Secret, owner: str, ca_file: Path | None = None) -> None:
        """Raises OSError, ssl.SSLError: of ca_file."""
        self._client = HttpClient(url, token, ca_file=ca_file, timeout_s=TIMEOUT_S)
        self._owner = owner
        self._watch = Watch(url, token, ca_file)

    @property
    def is_watching(self) -> bool:
        """Whether it is told of changes; else it asks."""
        return self._watch.known is not None

    async def units(self, gpus: Sequence[Gpu]) -> Mapping[Gpu, Collection[str]]:
        self._watch.start()
        return {gpu: (gpu.uuid,) if gpu.uuid else () for gpu in gpus}

    async def look(self, units: Collection[str]) -> Mapping[str, Standing]:
        known = self._watch.known
        if known is None:
            known = await self._asked(sorted(units))
        return {unit: self._standing(known[unit]) for unit in units if unit in known}

    async def drain(self, unit: str, note: str) -> None:
        await self._post(unit, "drain", {"owner": self._owner, "note": note})

    async def force(self, unit: str, note: str) -> None:
        await self._post(unit, "drain", {"owner": self._owner, "note": note, "force": True})

    async def remove(self, unit: str, note: str) -> None:
        await self._post(unit, "drain", {"owner": self._owner, "note": note, "remove": True})

    async def add(self, unit: str) -> None:
        await self._post(unit, "undrain", {"owner": self._owner})

    async def news(self) -> None:
        self._watch.start()
        await self._watch.news()

    async def close(self) -> None:
        await asyncio.to_thread(self._watch.stop)

    async def _asked(self, units: Sequence[str]) -> dict[str, Told]:
        """Raises Away."""
        if len(units) >= ASKED_FOR_ALL:
            return await self._get("/v1/gpus")
        found: dict[str, Told] = {}
        for at in range(0, len(units), ASKED_AT_ONCE):
            query = urlencode([("uuid", unit) for unit in units[at : at + ASKED_AT_ONCE]])
            found |= await self._get(f"/v1/gpus?{query}")
        return found

    async def _get(self, path: str) -> dict[str, Told]:
        """Raises Away."""
        try:
            answer = msgspec.convert(await self._client.call("GET", path), _Answer)
        except (Later, Missing, NotTaken) as reason:
            raise Away(str(reason)) from None
        except msgspec.ValidationError as reason:
            raise Away(f"{self._client.base}: not the answer of a scheduler: {reason}") from None
        return {gpu.uuid: gpu for gpu in answer.gpus}

    async def _post(self, unit: str, what: str, body: Mapping[str, Any]) -> None:
        try:
            await self._client.call("POST", f"/v1/gpus/{quote(unit, safe='')}/{what}", body)
        except Later as reason:
            raise Away(str(reason)) from None
        except (Missing, NotTaken) as reason:
            raise Refused(str(reason)) from None

    def _standing(self, told: Told) -> Standing:
        state = _STATES.get(told.state)
        ours = self._owner in told.owners
        others = ", ".join(sorted(owner for owner in told.owners if owner != self._owner))
        if state is None:
            return Standing("unknown", told.in_flight, ours, f"state {told.state!r} is none that we know")
        return Standing(state, told.in_flight, ours, f"held by {others}" if others else "")
