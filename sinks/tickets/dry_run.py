"""Says what would be done, and does nothing: the default until somebody enables tickets."""

from __future__ import annotations

import logging

from sinks.tickets.ticket import Ticket
from sinks.tickets.tracker import Capabilities, Ref, Tracker

logger = logging.getLogger(__name__)


class DryRun(Tracker):
    """place: where tickets would be kept."""

    name = "dry-run"
    capabilities = Capabilities(finds=False)

    def __init__(self, place: str) -> None:
        self._place = place

    @property
    def where(self) -> str:
        return f"dry run of {self._place}"

    async def find(self, ticket: Ticket) -> Ref | None:
        return None

    async def create(self, ticket: Ticket, revision: int) -> Ref:
        self._say("create", ticket)
        return Ref(ticket.correlation)

    async def update(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int, reopen: bool) -> Ref:
        self._say("reopen" if reopen else "update", ticket)
        return ref

    async def close(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int) -> None:
        self._say("close", ticket)

    def _say(self, what: str, ticket: Ticket) -> None:
        why = f" ({ticket.closed_because})" if ticket.closed_because else ""
        logger.info("%s: would %s priority %d ticket: %s%s", self._place, what, ticket.priority, ticket.title, why)
