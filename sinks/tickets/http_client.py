"""JSON over HTTP to a ticket system: which answers mean "later" and which "never", and who we are there."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPSHandler, Request, build_opener

import msgspec

from sinks import whole_answer
from sinks.redirects import NoRedirect
from sinks.tickets.tracker import Later, Missing, Refused

T = TypeVar("T")

TIMEOUT_S = 20.0
BODY_MAX = 256 << 20
WORDS_MAX = 300  # of an error's body
RETRY_AFTER_MAX_S = 3600.0
# Not the ticket's fault: too early, too many, a conflict that passes; credentials that somebody mends. 403 is its own:
# ServiceNow says so of single records.
LATER = frozenset({401, 407, 408, 409, 421, 423, 425, 429})


class Secret:
    """Read for each request, so that it may be replaced while we run. Never part of any text that we make."""

    def __init__(self, file: Path | None, variable: str, environment: Mapping[str, str]) -> None:
        """file: holds it. variable: else, the name of the environment variable that does."""
        self._file, self._variable, self._environment = file, variable, environment

    def __bool__(self) -> bool:
        return bool(self._file or self._variable)

    def read(self) -> str:
        """Raises Later: it is not there."""
        if self._file is None:
            found = self._environment.get(self._variable, "")
            if not found:
                raise Later(f"environment variable {self._variable} is empty")
            return found
        try:
            return self._file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise Later(f"{self._file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None


class HttpClient:
    """base: address that all paths are below. user: with it the secret is a password (basic), else a bearer token.

    ca_file: whom to trust instead of the machine's authorities. Certificates are always checked.
    """

    def __init__(
        self, base: str, secret: Secret, user: str = "", ca_file: Path | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Raises OSError, ssl.SSLError: of ca_file."""
        self.base = base.rstrip("/")
        self._secret = secret
        self._user = user
        self._timeout_s = timeout_s
        context = ssl.create_default_context(cafile=ca_file)
        self._open = build_opener(NoRedirect, HTTPSHandler(context=context)).open

    async def call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        """The decoded JSON of one answer, 2xx; None where it has no body. Raises Later, Refused, Missing (404, 410)."""
        headers = {"Accept": "application/json"}
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._secret:
            headers["Authorization"] = self._authorization()
        return _decoded(await self.send(method, path + (f"?{urlencode(query)}" if query else ""), headers, content))

    async def ask(
        self, answer: type[T], method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None
    ) -> T:
        """As `call`; answer: what the JSON says at least. Raises Later as well: it does not."""
        try:
            return msgspec.convert(await self.call(method, path, body, query), answer)
        except msgspec.ValidationError as error:
            raise Later(f"{self.base}: not the answer that is expected: {error}: is that the right address?") from None

    async def send(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None) -> bytes:
        """The same, with headers and bytes as they are."""
        headers = {"User-Agent": "gpu-vitals", **headers}
        request = Request(self.base + path, content, headers, method=method)
        try:
            return await whole_answer.within(asyncio.to_thread(self._ask, request), self._timeout_s)
        except TimeoutError as error:
            raise Later(f"{self.base}: {error}") from None

    def _ask(self, request: Request) -> bytes:
        began_s = time.monotonic()
        try:
            with self._open(request, timeout=self._timeout_s) as answer:
                return whole_answer.read(answer, began_s, self._timeout_s, BODY_MAX)
        except HTTPError as error:
            with error:
                raise _failure(self.base, error.code, error.reason, error.headers, _words(error)) from None
        except (OSError, HTTPException) as error:
            why = str(getattr(error, "reason", "") or error) or type(error).__name__
            raise Later(f"{self.base}: {why}") from None

    def _authorization(self) -> str:
        secret = self._secret.read()
        if self._user:
            return "Basic " + base64.b64encode(f"{self._user}:{secret}".encode()).decode()
        return f"Bearer {secret}"


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""


def _failure(base: str, status: int, reason: str, headers: Message[str, str], words: str) -> Exception:
    said = f"{base}: {status} {reason}" + (f": {words}" if words else "")
    if status in (404, 410):
        return Missing(said)
    if status in LATER or status >= 500 or status < 400:
        return Later(said, _retry_after_s(headers.get("Retry-After", "")))
    return Refused(said)


def _retry_after_s(text: str) -> float:
    """Seconds, or a date; 0: neither."""
    if text.strip().isdecimal():
        wait_s = float(text)
    else:
        try:
            wait_s = parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError):
            wait_s = 0.0
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


def _words(error: HTTPError) -> str:
    """What the server says about it, on one line; of a problem (RFC 9457) only what is said for people."""
    try:
        text = error.read(4 * WORDS_MAX).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""
    if error.headers.get_content_type() == "application/problem+json":
        with suppress(msgspec.DecodeError):
            problem = msgspec.json.decode(text, type=_Problem)
            text = problem.detail or problem.title
    return re.sub(r"\s+", " ", text).strip()[:WORDS_MAX]


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body) if body.strip() else None
    except msgspec.DecodeError:
        raise Later("the answer is not JSON: is that the right address?") from None
