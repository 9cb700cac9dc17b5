"""A small HTTP server beside the pipeline: `/metrics`, `/healthz`, `/readyz`. Nothing can be changed by it.

It runs in threads of its own: a slow client holds up neither the pipeline nor another client.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

CLIENT_TIMEOUT_S = 10.0

Problems = Mapping[str, str]  # what: why

logger = logging.getLogger(__name__)


class Request(NamedTuple):
    """path: decoded, without the query. query: the values of each name, as often as it stands there."""

    path: str
    query: Mapping[str, Sequence[str]] = {}
    headers: Message = Message()


class Answer(NamedTuple):
    """body: in pieces; a generator's are sent as they come, for as long as it goes on, and then it is closed."""

    status: HTTPStatus
    kind: str
    body: Sequence[bytes] | Generator[bytes, None, None]
    headers: Mapping[str, str] = {}


class Pages:
    """What is served. Each page is asked anew, in the server's threads.

    metrics: the page and its content type. unhealthy: what only a person can mend (503 on /healthz).
    unready: what it still waits for, beside that (503 on /readyz). notes: what else both pages say.
    """

    names: Sequence[str] = ("/metrics", "/healthz", "/readyz")

    def __init__(
        self,
        metrics: Callable[[], tuple[bytes, str]],
        unhealthy: Callable[[], Problems],
        unready: Callable[[], Problems],
        notes: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._metrics = metrics
        self._unhealthy = unhealthy
        self._unready = unready
        self._notes = notes

    def answer(self, request: Request) -> Answer:
        if request.path == "/metrics":
            body, kind = self._metrics()
            return Answer(HTTPStatus.OK, kind, [body])
        if request.path == "/healthz":
            return _checked("healthy", self._unhealthy(), self._notes())
        if request.path == "/readyz":
            return _checked("ready", {**self._unhealthy(), **self._unready()}, self._notes())
        status = HTTPStatus.OK if request.path == "/" else HTTPStatus.NOT_FOUND
        return text(status, "".join(f"{name}\n" for name in self.names))


class HttpServer:
    """Serves `pages` on host:port (0: any free port, see `port`) from `start` to `close`.

    Raises OSError when it cannot listen there.
    """

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self._server = _Server(host, port, pages)
        self._thread: Thread | None = None
        self.host = host
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port; harmless twice."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()


def text(status: HTTPStatus, content: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", [content.encode()])


def _checked(word: str, problems: Problems, notes: Mapping[str, str]) -> Answer:
    body: dict[str, Any] = {
        word: not problems,
        "problems": [{"what": what, "why": why} for what, why in problems.items()],
        **notes,
    }
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return Answer(status, "application/json", [json.dumps(body).encode() + b"\n"])


class _Handler(BaseHTTPRequestHandler):
    """One request a connection, as HTTP/1.0 has it: nobody can keep a thread by keeping silent."""

    timeout = CLIENT_TIMEOUT_S  # for each piece that is sent, too
    server: _Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        self._send(self.server.pages.answer(Request(unquote(url.path), query, self.headers)))

    def do_HEAD(self) -> None:
        self.do_GET()

    def __getattr__(self, name: str) -> Any:
        """Asked for do_METHOD: there are no others."""
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _refuse(self) -> None:
        self._send(text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")._replace(headers={"Allow": "GET, HEAD"}))

    def _send(self, answer: Answer) -> None:
        endless = isinstance(answer.body, Generator)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        if not endless:
            self.send_header("Content-Length", str(sum(map(len, answer.body))))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        try:
            self.end_headers()
            if self.command != "HEAD":
                for piece in answer.body:
                    self.wfile.write(piece)
        except (ConnectionError, TimeoutError):
            self.close_connection = True  # a client that went away, or does not read, is no news
        finally:
            if isinstance(answer.body, Generator):
                answer.body.close()

    def version_string(self) -> str:
        return "gpu-vitals"

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""


class _Server(ThreadingHTTPServer):
    block_on_close = False  # a client that keeps its connection open does not hold up the end
    request_queue_size = 128

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self.pages = pages
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name that HTTPServer makes: it can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news either; a page that cannot be made is."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            logger.exception("a request could not be answered")
