"""A small HTTP server beside the pipeline: `/metrics`, `/healthz`, `/readyz`. Nothing can be changed by it.

It runs in threads of its own: a slow client holds up neither the pipeline nor another client.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

CLIENT_TIMEOUT_S = 10.0

Problems = Mapping[str, str]  # what: why


class Pages:
    """What is served, as a WSGI application. Each is asked anew, in the server's threads.

    metrics: the page and its content type. unhealthy: what only a person can mend (503 on /healthz).
    unready: what it still waits for, beside that (503 on /readyz).
    """

    def __init__(
        self,
        metrics: Callable[[], tuple[bytes, str]],
        unhealthy: Callable[[], Problems],
        unready: Callable[[], Problems],
    ) -> None:
        self._metrics = metrics
        self._unhealthy = unhealthy
        self._unready = unready

    def __call__(self, environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        status, kind, body = self.answer(environment["REQUEST_METHOD"], environment["PATH_INFO"])
        start(f"{status.value} {status.phrase}", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [] if environment["REQUEST_METHOD"] == "HEAD" else [body]

    def answer(self, method: str, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body for one request."""
        if method not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        if path == "/metrics":
            body, kind = self._metrics()
            return HTTPStatus.OK, kind, body
        if path == "/healthz":
            return _checked("healthy", self._unhealthy())
        if path == "/readyz":
            return _checked("ready", {**self._unhealthy(), **self._unready()})
        status = HTTPStatus.OK if path == "/" else HTTPStatus.NOT_FOUND
        return _text(status, "/metrics\n/healthz\n/readyz\n")


class HttpServer:
    """Serves `pages` on host:port (0: any free port, see `port`) from `start` to `close`.

    Raises OSError when it cannot listen there.
    """

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self._server = _Server(host, port)
        self._server.set_app(pages)
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


def _checked(word: str, problems: Problems) -> tuple[HTTPStatus, str, bytes]:
    body: dict[str, Any] = {
        word: not problems,
        "problems": [{"what": what, "why": why} for what, why in problems.items()],
    }
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    return status, "application/json", json.dumps(body).encode() + b"\n"


def _text(status: HTTPStatus, text: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/plain; charset=utf-8", text.encode()


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False  # a client that keeps its connection open does not hold up the end

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the host's name that WSGIServer makes: it can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news either."""
