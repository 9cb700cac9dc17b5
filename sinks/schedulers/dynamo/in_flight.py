"""What a worker says of itself on its system server: which instance it is, and how many requests run there."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, NamedTuple

from sinks.schedulers.adapter import Away
from sinks.schedulers.dynamo.plain_http import PlainHttp, Silent

TIMEOUT_S = 2.0
_LINE = re.compile(r"^dynamo_component_inflight_requests\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Heard(NamedTuple):
    """in_flight: None = it cannot be told. process: "gone" = another one, or none, listens at its address."""

    in_flight: int | None
    process: Literal["there", "gone", "unknown"]


NOT_HEARD = Heard(None, "unknown")


class SystemServers:
    """endpoints: those whose requests count."""

    def __init__(self, endpoints: Collection[str]) -> None:
        self._endpoints = endpoints
        self._http = PlainHttp(TIMEOUT_S)

    async def hear(self, address: str, instance: str) -> Heard:
        if not address:
            return NOT_HEARD
        try:
            counts = await self._counts(address)
        except Silent as error:
            return Heard(0, "gone") if error.closed else NOT_HEARD
        except Away:
            return NOT_HEARD
        if counts and instance not in counts:
            return Heard(0, "gone")
        return Heard(counts[instance], "there") if instance in counts else NOT_HEARD

    async def instance(self, address: str) -> str:
        """Who answers there; empty: nobody, or several."""
        try:
            counts = await self._counts(address)
        except Away:
            return ""
        return next(iter(counts)) if len(counts) == 1 else ""

    def close(self) -> None:
        self._http.close()

    async def _counts(self, address: str) -> dict[str, int]:
        """By instance. Raises Away."""
        page = (await self._http.get(f"http://{address}/metrics")).decode("utf-8", "replace")
        counts: dict[str, int] = {}
        for labels, value in _LINE.findall(page):
            named = dict(_LABEL.findall(labels))
            if instance := named.get("worker_id", ""):
                counted = _count(address, value) if named.get("dynamo_endpoint") in self._endpoints else 0
                counts[instance] = counts.get(instance, 0) + counted
        return counts


def _count(address: str, value: str) -> int:
    """Raises Away: it is none."""
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        raise Away(f"{address}: {value} requests") from None
