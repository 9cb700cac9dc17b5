"""Servers that let their answers trickle, or break them off: a request to them ends, and nothing of it is believed."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

import pytest

from sinks.schedulers.adapter import Away
from sinks.schedulers.dynamo.plain_http import PlainHttp
from sinks.tickets.http_client import HttpClient, Secret
from sinks.tickets.tracker import Later

BODY = b'{"a": "' + b"x" * 40 + b'"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TIMEOUT_S = 1.0  # every piece comes within, on a busy machine too; the whole takes five times as long
PAUSE_S = 0.1
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
TRICKLES = {
    "body": (WHOLE, [bytes([each]) for each in BODY]),
    "chunks": (CHUNKED, [b"1\r\n%c\r\n" % each for each in BODY] + [b"0\r\n\r\n"]),
    "head": (HEAD, [b"X-%d: y\r\n" % number for number in range(50)] + [b"Content-Length: 2\r\n\r\n{}"]),
}
HALVES = {"body": WHOLE + BODY[:20], "chunk": CHUNKED + b"fff\r\n{}", "chunks": CHUNKED + b"2\r\n{}\r\n"}


class Trickling:
    """Answers each request with `first`, and then the pieces, one each moment."""

    def __init__(self, first, pieces=()):
        self._first, self._pieces = first, pieces
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self.place = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=self._server.accept()[:1], daemon=True).start()

    def _answer(self, connected):
        with suppress(OSError), connected:
            connected.recv(65536)
            connected.sendall(self._first)
            for piece in self._pieces:
                if self._stopping.wait(PAUSE_S):
                    break
                connected.sendall(piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._server.close()


@pytest.mark.parametrize("slow", TRICKLES)
def test_an_answer_that_trickles_is_not_waited_for(slow):
    with Trickling(*TRICKLES[slow]) as server:
        with pytest.raises(Later, match="no whole answer within"):
            asyncio.run(
                HttpClient(f"http://{server.place}", Secret(None, "", {}), timeout_s=TIMEOUT_S).call("GET", "/")
            )
        with pytest.raises(Away, match="no whole answer within"):
            asyncio.run(PlainHttp(TIMEOUT_S).get(f"http://{server.place}/"))


@pytest.mark.parametrize("half", HALVES)
def test_half_an_answer_is_none(half):
    with Trickling(HALVES[half]) as server:
        with pytest.raises(Later):
            asyncio.run(HttpClient(f"http://{server.place}", Secret(None, "", {})).call("GET", "/"))
        with pytest.raises(Away):
            asyncio.run(PlainHttp(60.0).get(f"http://{server.place}/"))
