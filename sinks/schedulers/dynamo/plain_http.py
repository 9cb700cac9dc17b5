"""Small requests to machines of the same network: no proxies, no redirections, a deadline."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from sinks import whole_answer
from sinks.redirects import NoRedirect
from sinks.schedulers.adapter import Away

AT_ONCE = 32
BODY_MAX = 256 << 20
WORDS_MAX = 300


class Silent(Away):
    """No answer. closed: nobody listens at that address, but the machine is there."""

    def __init__(self, text: str, closed: bool) -> None:
        super().__init__(text)
        self.closed = closed


class Answered(Away):
    """An answer that is not 200. words: what it says."""

    def __init__(self, text: str, status: int, words: str) -> None:
        super().__init__(text)
        self.status, self.words = status, words


class PlainHttp:
    def __init__(self, timeout_s: float, context: ssl.SSLContext | None = None) -> None:
        """context: None = the machine's authorities."""
        self._timeout_s = timeout_s
        tls = [HTTPSHandler(context=context)] if context else []  # making one takes a while
        self._open = build_opener(ProxyHandler({}), NoRedirect, *tls).open
        self._threads = ThreadPoolExecutor(AT_ONCE, "dynamo")

    async def get(self, url: str) -> bytes:
        """Raises Silent, Answered."""
        try:
            request = Request(url)
        except ValueError as error:
            raise Silent(f"{url}: no address: {error}", False) from None
        return await self._send(request)

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> bytes:
        """The same."""
        return await self._send(Request(url, content, {"Content-Type": "application/json", **headers}))

    def close(self) -> None:
        self._threads.shutdown(wait=False)

    async def _send(self, request: Request) -> bytes:
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, request)
        try:
            return await whole_answer.within(asked, self._timeout_s)
        except TimeoutError as error:
            raise Silent(f"{_where(request)}: {error}", False) from None

    def _ask(self, request: Request) -> bytes:
        where, began_s = _where(request), time.monotonic()
        try:
            with self._open(request, timeout=self._timeout_s) as answer:
                return whole_answer.read(answer, began_s, self._timeout_s, BODY_MAX)
        except HTTPError as error:
            with error:
                words = " ".join(error.read(4 * WORDS_MAX).decode("utf-8", "replace").split())[:WORDS_MAX]
            said = f"{where}: {error.code} {error.reason}" + (f": {words}" if words else "")
            raise Answered(said, error.code, words) from None
        except (OSError, HTTPException, ValueError) as error:  # ValueError: an address that no name server takes
            reason = getattr(error, "reason", error)
            text = f"{where}: {reason or type(error).__name__}"
            raise Silent(text, isinstance(reason, ConnectionRefusedError)) from None


def _where(request: Request) -> str:
    return f"{request.type}://{request.host}"
