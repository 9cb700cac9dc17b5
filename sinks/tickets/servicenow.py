"""ServiceNow: an incident by the Table API, found by its `correlation_id`.

https://www.servicenow.com/docs/bundle/latest-api-reference/page/integrate/inbound-rest/concept/c_TableAPI.html
`priority` cannot be set there: ServiceNow works it out of impact and urgency. Work notes are never written, as each
would stay, and a repeated call would write it twice.
"""

from __future__ import annotations

import msgspec

from sinks.tickets.http_client import HttpClient
from sinks.tickets.text import plain
from sinks.tickets.ticket import Ticket
from sinks.tickets.tracker import Capabilities, Later, Missing, Ref, Tracker

TABLE = "/api/now/table/incident"
DESCRIPTION_MAX = 4000
NEW, RESOLVED, CLOSED, CANCELED = "1", "6", "7", "8"  # of the field `state`
IMPACT_URGENCY = {1: ("1", "1"), 2: ("1", "2"), 3: ("2", "2"), 4: ("2", "3")}  # ServiceNow's own table of priorities
SETTLE_S = 60.0  # a creation whose answer we did not get may take effect late


class _Record(msgspec.Struct):
    sys_id: str
    state: str | int = NEW

    @property
    def ref(self) -> Ref:
        return Ref(self.sys_id, str(self.state) not in (RESOLVED, CLOSED, CANCELED))


class _One(msgspec.Struct):
    result: _Record


class _Found(msgspec.Struct):
    result: list[_Record]


class ServiceNow(Tracker):
    """close_code: one of the instance's own resolution codes. fields: more of them for new incidents."""

    name = "servicenow"
    capabilities = Capabilities(settle_s=SETTLE_S)

    def __init__(self, client: HttpClient, close_code: str, fields: dict[str, str]) -> None:
        self._client = client
        self._close_code = close_code
        self._fields = fields

    @property
    def where(self) -> str:
        return self._client.base

    async def find(self, ticket: Ticket) -> Ref | None:
        query = {
            "sysparm_query": f"correlation_id={ticket.correlation}^ORDERBYsys_created_on",
            "sysparm_fields": "sys_id,state",
            "sysparm_limit": "1",
        }
        try:
            found = (await self._client.ask(_Found, "GET", TABLE, query=query)).result
        except Missing as error:  # of the table, not of a record: the address is wrong
            raise Later(str(error)) from None
        return found[0].ref if found else None

    async def create(self, ticket: Ticket, revision: int) -> Ref:
        fields = {
            **self._fields,
            "correlation_id": ticket.correlation,
            "correlation_display": "GPU Vitals",
            **_content(ticket),
        }
        try:
            return (await self._client.ask(_One, "POST", TABLE, fields)).result.ref
        except Missing as error:
            raise Later(str(error)) from None

    async def update(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int, reopen: bool) -> Ref:
        fields = _content(ticket)
        if reopen and not (await self._now(ref)).is_open:
            fields["state"] = NEW
        return (await self._client.ask(_One, "PATCH", f"{TABLE}/{ref.key}", fields)).result.ref

    async def close(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int) -> None:
        fields = _content(ticket)
        if (await self._now(ref)).is_open:
            fields |= {"state": RESOLVED, "close_code": self._close_code, "close_notes": ticket.closed_because}
        await self._client.call("PATCH", f"{TABLE}/{ref.key}", fields)

    async def _now(self, ref: Ref) -> Ref:
        query = {"sysparm_fields": "sys_id,state"}
        return (await self._client.ask(_One, "GET", f"{TABLE}/{ref.key}", query=query)).result.ref


def _content(ticket: Ticket) -> dict[str, str]:
    impact, urgency = IMPACT_URGENCY[ticket.priority]
    return {
        "short_description": ticket.title,
        "description": plain(ticket, DESCRIPTION_MAX),
        "impact": impact,
        "urgency": urgency,
    }
