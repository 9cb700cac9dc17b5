"""Jira: an issue by the REST API (v3), found by a label of its own, moved by the workflow's transitions.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/
A search does not see a new issue at once; hence the time before we believe that there is none. Comments are never
written: a repeated call would write them twice.
"""

from __future__ import annotations

from typing import Any

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
                body = await self._client.call("GET", f"{API}/search/jql", query=query)
            except Missing as error:  # no such path
                raise Later(str(error)) from None
            if body["issues"]:
                return _ref(body["issues"][0])
            if body.get("isLast", True) or not body.get("nextPageToken"):
                break
            query["nextPageToken"] = body["nextPageToken"]
        return None

    async def create(self, ticket: Ticket, revision: int) -> Ref:
        fields = {
            "project": {"key": self._project},
            "issuetype": {"name": self._issue_type},
            "labels": [LABEL, ticket.correlation],
            **self._content(ticket),
        }
        try:
            answer = await self._client.call("POST", f"{API}/issue", {"fields": fields})
        except Missing as error:
            raise Later(str(error)) from None
        return Ref(str(answer["key"]))

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
        issue = await self._client.call("GET", f"{API}/issue/{ref.key}", query={"fields": "status"})
        if _ref(issue).is_open is to_open:
            return
        path = f"{API}/issue/{ref.key}/transitions"
        offered = (await self._client.call("GET", path))["transitions"]
        name = self._reopen_transition if to_open else self._close_transition
        fit = [each for each in offered if (each["name"] == name if name else _is_open(each["to"]) is to_open)]
        if not fit:
            names = ", ".join(each["name"] for each in offered) or "none"
            wanted = name or ("one to an open status" if to_open else "one to a done status")
            raise Refused(f"{ref.key}: no transition {wanted!r}; its workflow offers {names}")
        await self._client.call("POST", path, {"transition": {"id": fit[0]["id"]}})


def _ref(issue: Any) -> Ref:
    return Ref(str(issue["key"]), _is_open(issue["fields"]["status"]))


def _is_open(status: Any) -> bool:
    return bool(status["statusCategory"]["key"] != DONE)
