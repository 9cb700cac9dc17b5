"""etcd's JSON gateway: which member is asked, and who we are there."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sinks.schedulers.adapter import Away
from sinks.schedulers.dynamo.plain_http import Answered, PlainHttp, Silent
from sinks.tickets.http_client import Secret
from sinks.tickets.tracker import Later

TIMEOUT_S = 5.0


class Gateway:
    """cluster: the id of the cluster that answered last; empty: none has yet."""

    def __init__(self, endpoints: Sequence[str], user: str, secret: Secret, context: ssl.SSLContext | None) -> None:
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._user, self._secret = user, secret
        self._token = ""
        self._http = PlainHttp(TIMEOUT_S, context)
        self.cluster = ""

    async def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer as JSON. Raises Away, as Answered where a member has said why."""
        if self._user and not self._token:
            self._token = await self._authenticate()
        try:
            answer = await self._any_member(path, body, {"Authorization": self._token} if self._token else {})
        except Answered as error:
            if not self._token or "auth token" not in error.words:
                raise
            self._token = await self._authenticate()  # it had run out
            answer = await self._any_member(path, body, {"Authorization": self._token})
        self.cluster = answer["header"]["cluster_id"]
        return answer

    def close(self) -> None:
        self._http.close()

    async def _authenticate(self) -> str:
        try:
            password = self._secret.read()
        except Later as error:
            raise Away(f"etcd: {error}") from None
        answer = await self._any_member("auth/authenticate", {"name": self._user, "password": password}, {})
        return str(answer.get("token", ""))

    async def _any_member(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        """The one that answered last is asked first."""
        content = msgspec.json.encode(body)
        failure: Away | None = None
        for endpoint in list(self._endpoints):
            try:
                answer = _json(endpoint, await self._http.post(f"{endpoint}/v3/{path}", content, headers))
            except (Silent, Answered) as error:
                if isinstance(error, Answered) and error.status < 500:
                    raise
                failure = failure or error
                continue
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)
            return answer
        assert failure is not None
        raise failure


def _json(endpoint: str, content: bytes) -> Any:
    try:
        answer = msgspec.json.decode(content)
        answer["header"]["cluster_id"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise Away(f"{endpoint}: the answer is none of etcd's JSON gateway: is that the right address?") from None
    return answer
