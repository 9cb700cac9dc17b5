from __future__ import annotations

import json
import socket
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sinks import http
from sinks.http import HttpServer, Pages


def nothing():
    return {}


@pytest.fixture
def serve():
    servers = []

    def start(metrics=lambda: (b"x 1\n", "text/plain"), unhealthy=nothing, unready=nothing):
        server = HttpServer("127.0.0.1", 0, Pages(metrics, unhealthy, unready))
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def ask(server, path, method="GET"):
    try:
        with urlopen(Request(f"http://127.0.0.1:{server.port}{path}", method=method), timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def test_metrics_are_served_as_they_are_given(serve):
    assert ask(serve(), "/metrics") == (200, "text/plain", b"x 1\n")


def test_a_sound_pipeline_is_healthy_and_ready(serve):
    server = serve()
    for path, word in (("/healthz", "healthy"), ("/readyz", "ready")):
        status, kind, body = ask(server, path)
        assert (status, kind, json.loads(body)) == (200, "application/json", {word: True, "problems": []})


def test_what_is_not_ready_is_named_with_its_reason(serve):
    server = serve(unready=lambda: {"source kmsg": "failing: permission denied"})
    status, _, body = ask(server, "/readyz")
    assert status == 503
    assert json.loads(body) == {
        "ready": False,
        "problems": [{"what": "source kmsg", "why": "failing: permission denied"}],
    }
    assert ask(server, "/healthz")[0] == 200


def test_what_is_not_healthy_is_not_ready_either(serve):
    server = serve(unhealthy=lambda: {"stage node": "disk full"})
    assert ask(server, "/healthz")[0] == 503
    assert ask(server, "/readyz")[0] == 503


def test_only_reading_and_only_these_pages(serve):
    server = serve()
    assert ask(server, "/nothing")[0] == 404
    assert ask(server, "/metrics", "POST")[0] == 405
    assert ask(server, "/metrics", "HEAD") == (200, "text/plain", b"")
    assert b"/metrics" in ask(server, "/")[2]


def test_a_client_that_says_nothing_holds_up_nobody(serve, monkeypatch):
    monkeypatch.setattr(http._Handler, "timeout", 3600.0)  # whoever waited for it would wait for so long
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert ask(server, "/metrics")[0] == 200
        server.close()


def test_a_slow_page_holds_up_no_other(serve):
    go_on = threading.Event()

    def slow():
        go_on.wait(60)
        return b"", "text/plain"

    server = serve(metrics=slow)
    waiting = threading.Thread(target=ask, args=(server, "/metrics"))
    waiting.start()
    assert ask(server, "/healthz")[0] == 200
    go_on.set()
    waiting.join()


def test_a_page_that_cannot_be_made_is_logged(serve, caplog):
    server = serve(metrics=lambda: 1 / 0)
    with pytest.raises(OSError, match="closed connection without response"):
        urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=60)
    assert "ZeroDivisionError" in caplog.text


def test_a_port_in_use_is_refused_at_once(serve):
    with pytest.raises(OSError, match="in use"):
        HttpServer("127.0.0.1", serve().port, Pages(nothing, nothing, nothing))


def test_closed_twice_the_port_is_free_again(serve):
    server = serve()
    server.close()
    server.close()
    again = HttpServer("127.0.0.1", server.port, Pages(nothing, nothing, nothing))
    again.close()


def test_ipv6_is_listened_on_where_there_is_any():
    try:
        server = HttpServer("::1", 0, Pages(nothing, nothing, nothing))
    except OSError:
        pytest.skip("no IPv6 here")
    assert server.port
    server.close()
