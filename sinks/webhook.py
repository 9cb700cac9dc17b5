"""Decisions to a URL: one POST each, in order, until it is taken.

The body is the decision as `sinks.shown` has it. `Idempotency-Key` is the decision's origin: after a crash, or an
answer that was lost, the same decision comes again under the same key, and the receiver drops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar
from urllib.error import HTTPError
from urllib.request import Request, build_opener

from schemas import topics
from schemas.log import Record
from sinks.newest import Newest
from sinks.redirects import NoRedirect
from sinks.shown import Gone, Shown, encode, shown
from sinks.sink import Sink, SinkError

TIMEOUT_S = 10.0
KEY_HEADER = "Idempotency-Key"


class Webhook(Sink):
    """url: http or https. token_file: holds a bearer token; read for every request, so it may be replaced.

    changes_only: leave out decisions that alter neither weight nor state of a GPU, as far as is known since the
    start. timeout_s: for an answer. Any answer but 2xx, redirections included, is a reason to try again: a
    receiver that will never take a decision takes it (2xx) and throws it away.
    """

    name = "webhook"
    topics = (topics.DECISIONS,)
    batch_max: ClassVar[int] = 16  # few: what is posted and not yet noted comes again after a crash

    def __init__(
        self, url: str, token_file: Path | None = None, changes_only: bool = False, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = url
        self._token_file = token_file
        self._changes_only = changes_only
        self._timeout_s = timeout_s
        self._newest = Newest()
        self._last: dict[str, tuple[float, str]] = {}  # key: weight and state
        self._open = build_opener(NoRedirect).open

    async def apply(self, topic: str, records: Sequence[Record], partition: int = 0) -> None:
        for record in records:
            if not self._newest.is_news(record):
                continue
            try:
                decided = shown(record)
            except ValueError:  # of a newer version
                continue
            if self._is_wanted(decided):
                await asyncio.to_thread(
                    self._post, decided, str(record.origin or f"{topic}/{partition}/{record.offset}")
                )
            self._newest.add(record)
            if isinstance(decided, Shown):
                self._last[record.key] = decided.weight, decided.state
            else:
                self._last.pop(record.key, None)

    def _is_wanted(self, decided: Shown | Gone) -> bool:
        if not self._changes_only or isinstance(decided, Gone):
            return True
        return self._last.get(decided.key) != (decided.weight, decided.state)

    def _post(self, decided: Shown | Gone, key: str) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "gpu-vitals", KEY_HEADER: key}
        if self._token_file:
            headers["Authorization"] = f"Bearer {self._token()}"
        request = Request(self._url, encode(decided), headers, method="POST")
        try:
            with self._open(request, timeout=self._timeout_s):
                return
        except HTTPError as error:
            with error:
                why = f"{error.code} {error.reason}"
        except (OSError, HTTPException) as error:
            why = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise SinkError(f"{self._url}: {why}")

    def _token(self) -> str:
        assert self._token_file
        try:
            return self._token_file.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise SinkError(f"{self._token_file}: {getattr(error, 'strerror', None) or error}") from None
