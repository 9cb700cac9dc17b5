"""Alertmanager (API v2): a ticket is an alert that fires for as long as the ticket is open.

An alert ends by itself when nobody tells of it: it is told again every few minutes, with an end an hour ahead, so
that a restart of ours ends none. Labels are an alert's identity: where one changes (severity, action), the old alert
is ended in the same call.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from sinks.tickets.http_client import HttpClient
from sinks.tickets.tables import NOW
from sinks.tickets.text import markdown
from sinks.tickets.ticket import Ticket
from sinks.tickets.tracker import Capabilities, Later, Missing, Ref, Tracker

ALERTS = "/api/v2/alerts"
NAME = "GpuVitalsTicket"
ALIVE_S = 240.0
ENDS_S = 3600.0


class Alertmanager(Tracker):
    """client: of the base address, below which `/api/v2` is."""

    name = "alertmanager"
    capabilities = Capabilities(finds=False, alive_s=ALIVE_S)  # told twice is told once

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    @property
    def where(self) -> str:
        return self._client.base

    async def find(self, ticket: Ticket) -> Ref | None:
        return None

    async def create(self, ticket: Ticket, revision: int) -> Ref:
        await self._tell([_alert(ticket, ENDS_S)])
        return Ref(ticket.correlation)

    async def update(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int, reopen: bool) -> Ref:
        told = [_alert(ticket, ENDS_S)]
        if before is not None and labels(before) != labels(ticket):
            told.append(_alert(before, 0.0))
        await self._tell(told)
        return ref

    async def close(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int) -> None:
        told = {tuple(labels(each).items()): each for each in (before, ticket) if each is not None}
        await self._tell([_alert(each, 0.0) for each in told.values()])

    async def _tell(self, alerts: list[dict[str, Any]]) -> None:
        try:
            await self._client.call("POST", ALERTS, alerts)
        except Missing as error:
            raise Later(str(error)) from None


def labels(ticket: Ticket) -> dict[str, str]:
    """severity: as our own alert rules have it, `page` wakes somebody. Empty labels do not exist."""
    found = {
        "alertname": NAME,
        "severity": "page" if ticket.priority == NOW else "ticket",
        "cluster": ticket.cluster,
        "incident": ticket.id,
        "node": ticket.node,
        "family": ticket.family,
        "action": ticket.action,
    }
    return {name: value for name, value in found.items() if value}


def _alert(ticket: Ticket, ends_s: float) -> dict[str, Any]:
    """It is told with its beginning: without one Alertmanager takes the end for it."""
    now = time.time()
    begins = min(ticket.opened / 1000, now) if ticket.opened else now
    return {
        "labels": labels(ticket),
        "annotations": {"summary": ticket.title, "description": markdown(ticket)},
        "startsAt": datetime.fromtimestamp(begins, UTC).isoformat(),
        "endsAt": datetime.fromtimestamp(now + ends_s, UTC).isoformat(),
    }
