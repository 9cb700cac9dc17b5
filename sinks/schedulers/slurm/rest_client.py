"""HTTP to slurmrestd, over TCP or a Unix socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sinks.schedulers.adapter import Away

UNIX = "unix:"
DENIED = (401, 403, 511)  # 511: slurmrestd's word for "not authenticated"


class RestClient:
    """url: `http://HOST:6820`, `https://HOST`, or `unix:PATH`, where slurmrestd knows who asks by itself.

    user, token_file: of a JSON Web Token; it is read for each request, so that it may be replaced while we run.
    """

    def __init__(self, url: str, user: str, token_file: Path | None, deadline_s: float) -> None:
        self.url = url.rstrip("/")
        self._user = user
        self._token_file = token_file
        self._deadline_s = deadline_s

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded JSON; None where the answer is none. Raises Away: no answer, or nobody who may ask."""
        try:
            async with asyncio.timeout(self._deadline_s):
                status, content = await asyncio.to_thread(self._ask, method, path, body)
        except TimeoutError:
            raise Away(f"{self.url}: no answer within {self._deadline_s:g} s") from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Away(f"{self.url}: {why.lower()}") from None
        if status in DENIED:
            mend = "look at rest_user and rest_token_file" if self._user else "slurmrestd does not know who asks"
            raise Away(f"{self.url}: {status}: not authenticated; {mend}")
        try:
            return status, msgspec.json.decode(content)
        except msgspec.DecodeError:
            return status, None

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        content = None if body is None else msgspec.json.encode(body)
        connection = self._connection()
        try:
            connection.request(method, path, content, self._headers(content is not None))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self.url.startswith(UNIX):
            return _UnixConnection(self.url.removeprefix(UNIX), self._deadline_s)
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return HTTPSConnection(parts.hostname, parts.port, timeout=self._deadline_s, context=context)
        return HTTPConnection(parts.hostname, parts.port, timeout=self._deadline_s)

    def _headers(self, has_body: bool) -> Mapping[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "gpu-vitals"}
        if has_body:
            headers["Content-Type"] = "application/json"
        if self._user and self._token_file is not None:
            headers["X-SLURM-USER-NAME"] = self._user
            headers["X-SLURM-USER-TOKEN"] = self._token()
        return headers

    def _token(self) -> str:
        """The token alone, or as `scontrol token` prints it."""
        assert self._token_file is not None
        try:
            return self._token_file.read_text("utf-8").strip().removeprefix("SLURM_JWT=")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise Away(f"{self._token_file}: {why.lower()}") from None


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
