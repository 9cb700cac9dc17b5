"""Follows the decisions over HTTP: the event stream of `gpu-vitals sink decisions`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from pipeline.client.said import Said
from pipeline.client.source import BACKOFF_S, Tries, Troubles
from pipeline.client.view import View
from pipeline.errors import UsageProblem
from sinks.event_lines import EventLines, StreamEvent
from sinks.event_stream import HEARTBEAT_S, STREAM
from sinks.fleet import AsOf

if TYPE_CHECKING:
    import ssl

SILENCE_S = HEARTBEAT_S + 5.0  # a connection without a sign of life for so long is dead
PIECE_BYTES = 1 << 16
WHY_BYTES = 500
BEHIND = b"behind_s "


class HttpSource:
    """url: where `gpu-vitals sink decisions` listens, or a proxy before it. headers: sent along (a proxy's token).

    tls: for https; by default as the machine trusts. Resumes behind what the view knows where the server still has
    it, else takes a snapshot. Raises UsageProblem: not a URL.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        silence_s: float = SILENCE_S,
        backoff_s: tuple[float, float] = BACKOFF_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = _parts(url)
        self._https, self._host, self._port, self._path = parts
        self._headers = dict(headers or {})
        self._tls = tls
        self._silence_s = silence_s
        self._clock = clock
        self._tries = Tries(backoff_s)
        self._troubles = Troubles(url)
        self._stopping = Event()
        self._socket: socket.socket | None = None

    @property
    def problem(self) -> str:
        return self._troubles.problem

    def run(self, view: View) -> None:
        while not self._stopping.is_set():
            at_least_s = 0.0
            try:
                self._follow(view)
            except _Refused as refusal:
                self._fails(str(refusal))
                at_least_s = refusal.retry_s
            except (OSError, HTTPException, ValueError) as reason:
                self._fails(str(reason) or type(reason).__name__)
            self._stopping.wait(self._tries.next_s(at_least_s))

    def stop(self) -> None:
        self._stopping.set()
        if (connected := self._socket) is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _fails(self, why: str) -> None:
        if not self._stopping.is_set():
            self._troubles.fails(why)

    def _follow(self, view: View) -> None:
        """One connection to its end, which is always some OSError, HTTPException or ValueError."""
        connection = self._connection()
        try:
            connection.connect()
            self._socket = connection.sock
            if self._stopping.is_set():  # before there was a socket to cut
                return
            headers = {"Accept": "text/event-stream", **self._headers}
            if view.live:
                headers["Last-Event-ID"] = view.as_of.id
            connection.request("GET", self._path, headers=headers)
            with connection.getresponse() as response:
                self._read(_accepted(response), view)
        finally:
            self._socket = None
            connection.close()

    def _connection(self) -> HTTPConnection:
        if self._https:
            return HTTPSConnection(self._host, self._port, timeout=self._silence_s, context=self._tls)
        return HTTPConnection(self._host, self._port, timeout=self._silence_s)

    def _read(self, response: HTTPResponse, view: View) -> None:
        reader = _Reader(view, self._troubles, self._clock)
        lines = EventLines()
        while piece := response.read1(PIECE_BYTES):
            for event in lines.feed(piece):
                reader.take(event)
            if reader.flush():
                self._troubles.works()
                self._tries.worked()
        raise ConnectionError("the server has ended the stream")


class _Refused(Exception):
    """retry_s: after which the server wants to be asked again."""

    def __init__(self, why: str, retry_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry_s = retry_s


class _AsOf(msgspec.Struct):
    id: str
    offset: int
    origin: str
    ts: int
    behind_s: float

    def as_of(self) -> AsOf:
        return AsOf(_generation(self.id), self.offset, self.origin, self.ts)


class _Snapshot(msgspec.Struct):
    as_of: _AsOf
    gpus: list[Said]


class _Reader:
    """What the events of one connection do to the view."""

    def __init__(self, view: View, troubles: Troubles, clock: Callable[[], float]) -> None:
        self._view = view
        self._troubles = troubles
        self._clock = clock
        self._at = view.as_of[:2]  # how far this connection has come
        self._said: list[Said] = []
        self._level = False

    def take(self, event: StreamEvent) -> None:
        if event.name in ("decision", "gone"):
            self._said.append(_said(event.data))
            self._at = _generation(event.id), self._said[-1].offset
        elif event.name == "snapshot":
            self._whole(_snapshot(event.data))
        elif event.name == "dropped":
            raise ConnectionError("too slow: the server has dropped this reader")
        elif not event.name and event.data.startswith(BEHIND):
            self.flush()
            self._confirm(float(event.data.removeprefix(BEHIND)))

    def flush(self) -> bool:
        """Hand over what has come. Whether the server has ever known as much as the view."""
        if self._said:
            self._view.take(self._said, self._at[0])
            self._said = []
        return self._level

    def _whole(self, snapshot: _Snapshot) -> None:
        came_s, as_of = self._clock(), snapshot.as_of.as_of()
        self._at = as_of[:2]
        if self._view.knows_more_than(as_of):
            self._troubles.fails(
                f"knows decisions up to {as_of.id} only, older than {self._view.as_of.id}, which are kept"
            )
            return
        self._view.take(snapshot.gpus, as_of.generation)
        self._view.complete({said.key for said in snapshot.gpus}, as_of, came_s - snapshot.as_of.behind_s)
        self._level = True

    def _confirm(self, behind_s: float) -> None:
        if self._at >= self._view.as_of[:2]:
            self._level = True
        self._view.confirm(*self._at, self._clock() - behind_s)


def _parts(url: str) -> tuple[bool, str, int | None, str]:
    """Whether https, host, port, path of the stream."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.scheme == "https", parts.hostname, parts.port, parts.path.rstrip("/") + STREAM
    except ValueError:
        pass
    raise UsageProblem(
        f"health weights: not a URL: {url}", "http://HOST:9109, where `gpu-vitals sink decisions` listens"
    )


def _accepted(response: HTTPResponse) -> HTTPResponse:
    """Raises _Refused."""
    kind = response.headers.get_content_type()
    if response.status == HTTPStatus.OK and kind == "text/event-stream":
        return response
    said = response.read(WHY_BYTES).decode("utf-8", "replace").strip()
    asked = response.headers.get("Retry-After", "")
    if response.status == HTTPStatus.OK:
        raise _Refused(f"answers with {kind}, not with events: is it `gpu-vitals sink decisions`?")
    raise _Refused(f"{response.status} {response.reason} {said}".strip(), float(asked) if asked.isdecimal() else 0.0)


def _generation(id: str) -> int:
    return int(id.partition("/")[0])


_said = msgspec.json.Decoder(Said).decode
_snapshot = msgspec.json.Decoder(_Snapshot).decode
