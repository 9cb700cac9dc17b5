"""The watch shows its token to nobody whose certificate is not vouched for."""

from __future__ import annotations

import asyncio
import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from sinks.schedulers.watch import Watch
from sinks.tickets.http_client import Secret
from tests.sinks.tickets.test_tls import certificate  # noqa: F401  (a fixture)


class Events(BaseHTTPRequestHandler):
    asked: list[str | None]

    def do_GET(self):
        self.asked.append(self.headers["Authorization"])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b'event: gpus\ndata: {"gpus": []}\n\n')

    def log_message(self, *args):
        pass


class Server(HTTPServer):
    def handle_error(self, request, client_address):
        """A handshake that fails is no news."""


@pytest.mark.parametrize("trusted", [True, False])
def test_only_who_is_vouched_for_is_shown_the_token(certificate, trusted):  # noqa: F811
    class Handler(Events):
        asked = []

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def story(port):
        secret = Secret(None, "T", {"T": "s3cret"})
        watch = Watch(f"https://127.0.0.1:{port}", secret, certificate if trusted else None)
        watch.start()
        async with asyncio.timeout(60):
            await watch.news()
        await asyncio.to_thread(watch.stop)
        return watch

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        asyncio.run(story(server.server_port))
        server.shutdown()
    assert (Handler.asked[:1] == ["Bearer s3cret"]) is trusted
    assert bool(Handler.asked) is trusted
