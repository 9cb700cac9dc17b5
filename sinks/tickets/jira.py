"""Jira: an issue by the REST API (v3), found by a label of its own, moved by the workflow's transitions.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/
A search does not see a new issue at once; hence the time before we believe that there is none. Comments are never
written: a repeated call would write them twice.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sinks.tickets.adf import document
from sinks.tickets.http_client import HttpClient
from sinks.tickets.ticket import Ticket
from sinks.tickets.tracker import Capabilities, Later, Missing, Ref, Refused, Tracker

API = "/rest/api/3"
DESCRIPTION_MAX = 30_000  # Jira takes 32,767 characters
DONE = "done"  # key of the category of statuses in which an issue is closed
PAGES_MAX = 20
SETTLE_S = 120.0
LABEL = "gpu-vitals"


class _Category(msgspec.Struct):
    key: str


class _Status(msgspec.Struct):
    category: _Category = msgspec.field(name="statusCategory")

    @property
    def is_open(self) -> bool:
        return self.category.key != DONE


class _Fields(msgspec.Struct):
    status: _Status


class _Issue(msgspec.Struct):
    key: str
    fields: _Fields

    @property
    def ref(self) -> Ref:
        return Ref(self.key, self.fields.status.is_open)


class _Page(msgspec.Struct):
    issues: list[_Issue]
    is_last: bool = msgspec.field(name="isLast", default=True)
    next_token: str | None = msgspec.field(name="nextPageToken", default=None)


class _Created(msgspec.Struct):
    key: str


class _Transition(msgspec.Struct):
    id: str | int
    name: str
    to: _Status


class _Offered(msgspec.Struct):
    transitions: list[_Transition]


class Jira(Tracker):
    """project: its key. issue_type: by name. priorities: names of Jira's for our 1 to 4; none: left as they are.

    close_transition, reopen_transition: by name; empty: the first one that leads to a closed, or to an open status.
    """

    name = "jira"
    capabilities = Capabilities(settle_s=SETTLE_S)

    def __init__(
        self,
        client: HttpClient,
        project: str,
        issue_type: str,
        priorities: list[str],
        close_transition: str = "",
        reopen_transition: str = "",
    ) -> None:
        self._client = client
        self._project = project
        self._issue_type = issue_type
        self._priorities = priorities
        self._close_transition = close_transition
        self._reopen_transition = reopen_transition

    @property
    def where(self) -> str:
        return f"{self._client.base} {self._project}"

    async def find(self, ticket: Ticket) -> Ref | None:
        """A page may be empty and not be the last."""
        query = {
            "jql": f'project = "{self._project}" AND labels = "{ticket.correlation}" ORDER BY created ASC',
            "fields": "status",
            "maxResults": "10",
        }
        for _ in range(PAGES_MAX):
            try:
                page = await self._client.ask(_Page, "GET", f"{API}/search/jql", query=query)
            except Missing as error:  # no such path
                raise Later(str(error)) from None
            if page.issues:
                return page.issues[0].ref
            if page.is_last or not page.next_token:
                break
            query["nextPageToken"] = page.next_token
        return None

    async def create(self, ticket: Ticket, revision: int) -> Ref:
        fields = {
            "project": {"key": self._project},
            "issuetype": {"name": self._issue_type},
            "labels": [LABEL, ticket.correlation],
            **self._content(ticket),
        }
        try:
            created = await self._client.ask(_Created, "POST", f"{API}/issue", {"fields": fields})
        except Missing as error:
            raise Later(str(error)) from None
        return Ref(created.key)

    async def update(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int, reopen: bool) -> Ref:
        await self._client.call("PUT", f"{API}/issue/{ref.key}", {"fields": self._content(ticket)})
        if reopen:
            await self._move(ref, to_open=True)
        return Ref(ref.key)

    async def close(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int) -> None:
        await self._client.call("PUT", f"{API}/issue/{ref.key}", {"fields": self._content(ticket)})
        await self._move(ref, to_open=False)

    def _content(self, ticket: Ticket) -> dict[str, Any]:
        fields: dict[str, Any] = {"summary": ticket.title, "description": document(ticket, DESCRIPTION_MAX)}
        if self._priorities:
            fields["priority"] = {"name": self._priorities[ticket.priority - 1]}
        return fields

    async def _move(self, ref: Ref, *, to_open: bool) -> None:
        issue = await self._client.ask(_Issue, "GET", f"{API}/issue/{ref.key}", query={"fields": "status"})
        if issue.ref.is_open is to_open:
            return
        path = f"{API}/issue/{ref.key}/transitions"
        offered = (await self._client.ask(_Offered, "GET", path)).transitions
        name = self._reopen_transition if to_open else self._close_transition
        fit = [each for each in offered if (each.name == name if name else each.to.is_open is to_open)]
        if not fit:
            names = ", ".join(each.name for each in offered) or "none"
            wanted = name or ("one to an open status" if to_open else "one to a done status")
            raise Refused(f"{ref.key}: no transition {wanted!r}; its workflow offers {names}")
        await self._client.call("POST", path, {"transition": {"id": fit[0].id}})
