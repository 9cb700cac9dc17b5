"""The webhook, before a receiver that takes, refuses, hangs and goes away."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.kafka.testing import decision, tombstone
from schemas import topics
from schemas.log import Origin, Record
from sinks.kit import Probe, check_sink
from sinks.sink import SinkError
from sinks.webhook import Webhook


class Receiver:
    """Remembers (key, body, headers) of what it has taken. script: statuses for the next requests, then 204."""

    def __init__(self):
        self.taken = []
        self.script = []
        self.go_on = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = receiver.script.pop(0) if receiver.script else 204
                if status == "hang":
                    receiver.go_on.wait(10)
                    return
                if status < 300:
                    receiver.taken.append((self.headers["Idempotency-Key"], body, dict(self.headers)))
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self):
                receiver.taken.append(("GET", None, None))

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def keys(self):
        return [key for key, *_ in self.taken]

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def records(*outputs, first=0):
    return [
        Record(first + at, out.ts, out.key, out.kind, out.value, Origin("cluster", 0, out.offset, out.ordinal))
        for at, out in enumerate(outputs)
    ]


def apply(hook, given):
    asyncio.run(hook.apply(topics.DECISIONS, given))


def test_each_decision_is_posted_in_order_with_its_origin_as_key(receiver):
    apply(Webhook(receiver.url), records(decision(1, cause=3), decision(2, 0.5, cause=3, ordinal=1), tombstone(1, 4)))
    assert receiver.keys == ["0/cluster/0/3/0", "0/cluster/0/3/1", "0/cluster/0/4/0"]
    bodies = [body for _, body, _ in receiver.taken]
    assert [(body["key"], body.get("weight")) for body in bodies] == [
        ("GPU-00000001", 1.0),
        ("GPU-00000002", 0.5),
        ("GPU-00000001", None),
    ]
    assert bodies[2]["gone"] is True
    assert receiver.taken[0][2]["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 302])
def test_what_is_not_taken_is_tried_again_and_what_was_taken_is_not(receiver, status):
    hook, given = Webhook(receiver.url), records(*(decision(1, cause=cause) for cause in range(3)))
    receiver.script = [204, status]
    with pytest.raises(SinkError, match=f"hook: {status}"):
        apply(hook, given)
    apply(hook, given)
    assert receiver.keys == [f"0/cluster/0/{cause}/0" for cause in range(3)]


def test_a_receiver_that_hangs_is_given_up_after_the_timeout(receiver):
    receiver.script = ["hang"]
    with pytest.raises(SinkError, match="timed out"):
        apply(Webhook(receiver.url, timeout_s=0.1), records(decision(1)))


def test_a_receiver_that_is_away_is_named_with_the_reason(receiver):
    receiver.close()
    with pytest.raises(SinkError, match=r"/hook: .*refused"):
        apply(Webhook(receiver.url), records(decision(1)))


def test_doubles_and_older_decisions_are_not_posted(receiver):
    hook = Webhook(receiver.url)
    apply(hook, records(decision(1, cause=5), decision(1, cause=4), decision(1, cause=5)))
    apply(hook, records(decision(1, cause=5), first=9))
    assert receiver.keys == ["0/cluster/0/5/0"]


def test_only_changes_are_posted_where_that_is_wanted(receiver):
    hook = Webhook(receiver.url, changes_only=True)
    weights = (1.0, 1.0, 0.5, 0.5, 1.0)
    apply(
        hook, records(*(decision(1, weight, cause=cause, policy=f"p{cause}") for cause, weight in enumerate(weights)))
    )
    assert receiver.keys == [f"0/cluster/0/{cause}/0" for cause in (0, 2, 4)]


def test_the_token_is_read_anew_for_each_request(receiver, tmp_path):
    token = tmp_path / "token"
    hook = Webhook(receiver.url, token)
    with pytest.raises(SinkError, match="No such file"):
        apply(hook, records(decision(1)))
    for cause, text in enumerate(("first\n", "second\n")):
        token.write_text(text, "ascii")
        apply(hook, records(decision(1, cause=cause), first=cause))
    assert [headers["Authorization"] for *_, headers in receiver.taken] == ["Bearer first", "Bearer second"]


def test_a_decision_without_an_origin_has_its_place_as_key(receiver):
    apply(Webhook(receiver.url), [records(decision(1))[0]._replace(offset=7, origin=None)])
    assert receiver.keys == ["decisions/0/7"]


def test_contract(receiver):
    def make():
        receiver.taken.clear()
        return Probe(Webhook(receiver.url), lambda: list(receiver.keys))

    check_sink(make, topics.DECISIONS, records(*(decision(gpu, cause=gpu) for gpu in range(3))))
