"""Tickets to a URL: each change one POST, a CloudEvent (1.0, structured JSON), signed.

Signature: Standard Webhooks (https://www.standardwebhooks.com), HMAC-SHA256 over `id.timestamp.body`, base64. The
receiver refuses old time stamps, and drops an `id` that it has had: a call is repeated when its answer was lost.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from datetime import UTC, datetime

import msgspec

from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.ticket import Ticket, digest
from sinks.tickets.tracker import Capabilities, Missing, Ref, Refused, Tracker

TYPE = "gpu-vitals.ticket."  # created, updated, reopened, closed
PREFIX = "whsec_"  # of secrets that are written in base64


class TicketWebhook(Tracker):
    """client: of the whole URL. secret: without one events are not signed."""

    name = "webhook"
    capabilities = Capabilities(finds=False)

    def __init__(self, client: HttpClient, secret: Secret) -> None:
        self._client = client
        self._secret = secret

    @property
    def where(self) -> str:
        return self._client.base

    async def find(self, ticket: Ticket) -> Ref | None:
        return None

    async def create(self, ticket: Ticket, revision: int) -> Ref:
        return await self._post("created", ticket, revision)

    async def update(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int, reopen: bool) -> Ref:
        return await self._post("reopened" if reopen else "updated", ticket, revision)

    async def close(self, ref: Ref, ticket: Ticket, before: Ticket | None, revision: int) -> None:
        await self._post("closed", ticket, revision)

    async def _post(self, what: str, ticket: Ticket, revision: int) -> Ref:
        id = f"{ticket.correlation}-{revision}-{digest(ticket)}"
        event = {
            "specversion": "1.0",
            "id": id,
            "source": f"/gpu-vitals/{ticket.cluster}",
            "type": TYPE + what,
            "subject": ticket.id,
            "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": ticket,
        }
        content = msgspec.json.encode(event)
        headers = {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
        if self._secret:
            headers |= signature(self._secret.read(), id, int(time.time()), content)
        try:
            await self._client.send("POST", "", headers, content)
        except Missing as error:  # there are no tickets there that could be
            raise Refused(str(error)) from None
        return Ref(ticket.correlation)


def signature(secret: str, id: str, timestamp_s: int, content: bytes) -> dict[str, str]:
    """The three headers."""
    signed = hmac.new(_key(secret), b".".join((id.encode(), str(timestamp_s).encode(), content)), hashlib.sha256)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": "v1," + base64.b64encode(signed.digest()).decode(),
    }


def _key(secret: str) -> bytes:
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            pass  # then it is no secret of that kind
    return secret.encode()
