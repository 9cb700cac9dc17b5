"""Listens to a scheduler's events (`GET /v1/gpus/watch`) in a thread, and keeps what they tell.

event: gpus    all GPUs, as `GET /v1/gpus` shows them: forget what you knew
event: gpu     one of them has changed
event: gone    one is not the scheduler's any more
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sinks.event_lines import EventLines, StreamEvent
from sinks.tickets.http_client import Secret
from sinks.tickets.tracker import Later

SILENCE_S = 20.0  # a connection without a sign of life for so long is dead; one comes every 15 s at least
BACKOFF_S = (0.5, 15.0)
PIECE_BYTES = 1 << 16

logger = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """How a GPU stands, in the scheduler's words."""

    uuid: str
    state: str
    in_flight: int | None = None
    owners: list[str] = []


class _All(msgspec.Struct):
    gpus: list[Told]


class _Gone(msgspec.Struct):
    uuid: str


_all = msgspec.json.Decoder(_All).decode
_one = msgspec.json.Decoder(Told).decode
_gone = msgspec.json.Decoder(_Gone).decode


class Watch:
    """known: what has been told, by UUID, complete; None: nothing is certain, ask. All but the thread: one loop."""

    def __init__(self, url: str, token: Secret, ca_file: Path | None = None, silence_s: float = SILENCE_S) -> None:
        """Raises OSError, ssl.SSLError: of ca_file."""
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        self._token = token
        self._silence_s = silence_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self.known: dict[str, Told] | None = None

    def start(self) -> None:
        """Harmless twice."""
        if self._thread is None and not self._stopping.is_set():
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="scheduler-watch", daemon=True)
            self._thread.start()

    async def news(self) -> None:
        """Returns when a GPU that is out has changed, or the connection."""
        await self._news.wait()
        self._news.clear()

    def stop(self) -> None:
        """Called from another thread than the loop's; returns when the thread has ended."""
        self._stopping.set()
        if (connected := self._socket) is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(self._silence_s)

    # --- in the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait_s, longest_s = BACKOFF_S
        while not self._stopping.is_set():
            try:
                self._follow()
            except _NoMore:
                wait_s = BACKOFF_S[0]
            except (OSError, HTTPException, ValueError, Later) as reason:
                logger.debug("watch: %s", str(reason) or type(reason).__name__)
            self._hand_over(None)
            self._stopping.wait(wait_s)
            wait_s = min(2.0 * wait_s, longest_s)

    def _follow(self) -> None:
        """One connection to its end, which is always an exception; _NoMore: of one that had told something."""
        connection = self._connection()
        told = False
        try:
            connection.connect()
            self._socket = connection.sock
            if self._stopping.is_set():  # before there was a socket to cut
                raise ConnectionError("it is over")
            headers = {"Accept": "text/event-stream", "User-Agent": "gpu-vitals"}
            if self._token:
                headers["Authorization"] = f"Bearer {self._token.read()}"
            connection.request("GET", f"{self._path}/v1/gpus/watch", headers=headers)
            with connection.getresponse() as response:
                _check(response)
                lines = EventLines()
                while piece := response.read1(PIECE_BYTES):
                    for event in lines.feed(piece):
                        told = True
                        self._hand_over(event)
            raise ConnectionError("the server has ended the stream")
        except (OSError, HTTPException, ValueError):
            if told:
                raise _NoMore from None
            raise
        finally:
            self._socket = None
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self._tls:
            return HTTPSConnection(self._host, self._port, timeout=self._silence_s, context=self._tls)
        return HTTPConnection(self._host, self._port, timeout=self._silence_s)

    def _hand_over(self, event: StreamEvent | None) -> None:
        """None: the connection is gone."""
        assert self._loop
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, event)

    # --- in the loop ---------------------------------------------------------------------------------------------

    def _take(self, event: StreamEvent | None) -> None:
        if event is None:
            self._news.set()
            self.known = None
            return
        try:
            self._tell(event)
        except ValueError as reason:
            logger.warning("watch: an event that cannot be understood, so GPUs are asked for: %s", reason)
            self.known = None  # what it would have told is missing

    def _tell(self, event: StreamEvent) -> None:
        """Raises ValueError."""
        if event.name == "gpus":
            self.known = {gpu.uuid: gpu for gpu in _all(event.data).gpus}
            self._news.set()
        elif self.known is None:
            return  # it is to be complete or nothing
        elif event.name == "gpu":
            gpu = _one(event.data)
            before = self.known.get(gpu.uuid)
            self.known[gpu.uuid] = gpu
            if gpu.state != "serving" or before is None or before.state != "serving":
                self._news.set()
        elif event.name == "gone":
            self.known.pop(_gone(event.data).uuid, None)
            self._news.set()


class _NoMore(Exception):
    """A connection that had worked has ended."""


def _check(response: HTTPResponse) -> None:
    """Raises ConnectionError."""
    kind = response.headers.get_content_type()
    if response.status != HTTPStatus.OK or kind != "text/event-stream":
        raise ConnectionError(f"{response.status} {response.reason}: {kind} instead of events")
