"""The HTTP API, asked over real connections."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from pipeline.kafka.testing import decision, tombstone
from schemas import topics
from schemas.log import Origin, Record
from sinks.decisions_http import DecisionPages, DecisionsSink
from sinks.families import CONTENT_TYPE, page
from sinks.fleet import Fleet
from sinks.http import HttpServer
from sinks.kit import Probe, check_sink

FLEET = [decision(gpu, 1.0 - gpu / 20, cause=gpu) for gpu in range(20)]


def records(outputs, first=0):
    return [
        Record(first + at, out.ts, out.key, out.kind, out.value, Origin("cluster", 0, out.offset, out.ordinal))
        for at, out in enumerate(outputs)
    ]


class Api:
    """A server over a fleet that a test feeds."""

    def __init__(self, events_kept=1000, **options):
        self.fleet = Fleet(events_kept=events_kept)
        self.sink = DecisionsSink(self.fleet)
        options = {"heartbeat_s": 0.1, **options}
        self.pages = DecisionPages(
            self.fleet, lambda: 1.5, lambda: (page(self.pages), CONTENT_TYPE), dict, self.unready, **options
        )
        self.server = HttpServer("127.0.0.1", 0, self.pages)
        self.server.start()
        self.given = 0

    def unready(self):
        return {} if self.fleet.live else {"sink decisions": "reads"}

    def give(self, *outputs):
        asyncio.run(self.sink.apply(topics.DECISIONS, records(outputs, self.given)))
        self.given += len(outputs)

    def ask(self, path):
        try:
            with urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=60) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def metric(self, name):
        with urlopen(f"http://127.0.0.1:{self.server.port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def close(self):
        asyncio.run(self.sink.close())
        self.server.close()


@pytest.fixture
def serve():
    made = []

    def start(*outputs, live=True, **options):
        api = Api(**options)
        made.append(api)
        api.give(*outputs)
        if live:
            api.sink.caught_up()
        return api

    yield start
    for api in made:
        api.close()


class Reader:
    """A reader of the event stream: `next` waits for an event and returns (name, id, data)."""

    def __init__(self, api, last_id=None):
        headers = {"Last-Event-ID": last_id} if last_id else {}
        self.answer = urlopen(
            Request(f"http://127.0.0.1:{api.server.port}/v1/decisions/stream", headers=headers), timeout=60
        )
        self.comments = 0
        self.comment = ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.answer.close()

    def next(self):
        fields = {}
        while line := self.answer.readline().decode():
            if line.startswith(":"):
                self._hear(line)
            elif line == "\n" and "event" in fields:
                return fields["event"], fields.get("id"), json.loads(fields["data"])
            elif line != "\n":
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
        return None

    def hear_comments(self, count):
        """Until so many have come, while there is no event."""
        while self.comments < count and (line := self.answer.readline().decode()):
            if line != "\n":
                assert line.startswith(":")
                self._hear(line)
        assert self.comments >= count

    def _hear(self, line):
        self.comments += 1
        self.comment = line.strip()


def keys(body):
    return [gpu["key"] for gpu in body["gpus"]]


def test_all_gpus_with_all_that_a_scheduler_needs(serve):
    status, body = serve(decision(0), decision(9, 0.0, cause=4, held_by="budget")).ask("/v1/gpus")
    assert status == 200
    assert body["as_of"] == {
        "id": "0/1",
        "offset": 1,
        "origin": "0/cluster/0/4/0",
        "ts": decision(9, cause=4).ts,
        "behind_s": 1.5,
    }
    assert keys(body) == ["GPU-00000000", "GPU-00000009"]
    assert body["gpus"][1] == {
        "offset": 1,
        "origin": "0/cluster/0/4/0",
        "ts": decision(9, cause=4).ts,
        "key": "GPU-00000009",
        "cluster": "c1",
        "node": "node-0001",
        "uuid": "GPU-00000009",
        "bdf": "0000:02:00",
        "weight": 0.0,
        "score": 0.0,
        "state": "draining",
        "action": "evict",
        "condition": "failed",
        "held_by": "budget",
        "cause": "Xid 79: GPU fell off the bus",
        "reasons": [],
        "policy": "default@1bd1f7d12458",
        "incident": "",
    }


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("?node=node-0001", range(8, 16)),
        ("?node=node-0001&node=node-0002", range(8, 20)),
        ("?cluster=c1&below=0.19", range(17, 20)),
        ("?cluster=other", []),
        ("?below=2&below=0.06", range(19, 20)),
    ],
)
def test_filters_choose(serve, query, chosen):
    assert keys(serve(*FLEET).ask(f"/v1/gpus{query}")[1]) == [f"GPU-{gpu:08x}" for gpu in chosen]


@pytest.mark.parametrize(
    ("query", "word"),
    [("?nodes=x", "no such filter: nodes"), ("?below=low", "not a weight: low"), ("?below=nan", "not a weight: nan")],
)
def test_a_filter_that_is_none_is_refused_and_not_ignored(serve, query, word):
    status, body = serve(*FLEET).ask(f"/v1/gpus{query}")
    assert (status, body["error"]) == (400, "bad request")
    assert word in body["why"]


def test_a_large_fleet_is_one_document(serve):
    assert len(keys(serve(*(decision(gpu) for gpu in range(501))).ask("/v1/gpus")[1])) == 501
    assert serve().ask("/v1/gpus")[1]["gpus"] == []


@pytest.mark.parametrize("key", ["GPU-00000003", "node-0000/0000:04:00", "node-0000%2F0000:04:00"])
def test_one_gpu_by_uuid_or_place(serve, key):
    status, body = serve(*FLEET).ask(f"/v1/gpus/{key}")
    assert (status, body["gpu"]["uuid"]) == (200, "GPU-00000003")
    assert body["as_of"]["id"] == "0/19"


def test_a_gpu_that_nobody_knows_is_404_and_says_so(serve):
    assert serve(*FLEET).ask("/v1/gpus/GPU-none") == (
        404,
        {"error": "not found", "why": "no decision about GPU-none; KEY is a GPU's UUID or NODE/BDF"},
    )


def test_pages_that_do_not_exist_are_404(serve):
    status, body = serve().ask("/v1/nothing")
    assert (status, body["error"]) == (404, "not found")
    assert "/v1/gpus" in body["why"]


def test_half_a_view_is_shown_to_nobody(serve):
    api = serve(*FLEET, live=False)
    for path in ("/v1/gpus", "/v1/gpus/GPU-00000003", "/v1/decisions/stream"):
        assert api.ask(path) == (
            503,
            {"error": "service unavailable", "why": "the decisions are still being read"},
        )
    assert api.ask("/readyz")[0] == 503
    assert api.ask("/healthz")[0] == 200
    api.sink.caught_up()
    assert api.ask("/v1/gpus")[0] == 200
    assert api.ask("/readyz")[0] == 200


def test_nothing_can_be_changed(serve):
    api = serve(*FLEET)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        with pytest.raises(HTTPError, match="405") as refused:
            urlopen(Request(f"http://127.0.0.1:{api.server.port}/v1/gpus/GPU-00000003", method=method, data=b""))
        refused.value.close()


# --- the event stream ------------------------------------------------------------------------------------------


def test_a_stream_begins_with_a_snapshot_and_goes_on_with_what_is_decided(serve):
    api = serve(*FLEET)
    with Reader(api) as reader:
        name, id, body = reader.next()
        assert (name, id) == ("snapshot", "0/19")
        assert body["gpus"] == api.ask("/v1/gpus")[1]["gpus"]
        api.give(decision(3, 0.0, cause=30), tombstone(4, cause=31))
        name, id, gpu = reader.next()
        assert (name, id, gpu["key"], gpu["weight"]) == ("decision", "0/20", "GPU-00000003", 0.0)
        name, id, gone = reader.next()
        assert (name, id, gone["key"], gone["gone"]) == ("gone", "0/21", "GPU-00000004", True)


def test_a_reader_that_comes_back_gets_what_it_has_missed_and_no_snapshot(serve):
    api = serve(*FLEET)
    api.give(*(decision(1, 0.5, cause=cause) for cause in range(30, 35)))
    with Reader(api, "0/21") as reader:
        assert [reader.next()[:2] for _ in range(3)] == [("decision", f"0/{at}") for at in (22, 23, 24)]


def test_list_then_follow_leaves_no_gap(serve):
    api = serve(*FLEET)
    id = api.ask("/v1/gpus")[1]["as_of"]["id"]
    api.give(decision(1, 0.5, cause=30))
    with Reader(api, id) as reader:
        assert reader.next()[:2] == ("decision", "0/20")


@pytest.mark.parametrize("last_id", ["0/2", "0/999", "7/21", "nonsense"])
def test_a_reader_with_an_id_that_cannot_be_resumed_gets_a_snapshot(serve, last_id):
    with Reader(serve(*FLEET), last_id) as reader:
        assert reader.next()[:2] == ("snapshot", "0/19")


def test_what_is_delivered_again_or_late_is_no_event(serve):
    api = serve(*FLEET)
    with Reader(api) as reader:
        reader.next()
        api.give(decision(3, 0.0, cause=30), decision(3, 0.9, cause=29), decision(3, 0.0, cause=30))
        api.give(decision(5, 0.1, cause=31))
        assert [reader.next()[2]["weight"] for _ in range(2)] == [0.0, 0.1]


def test_silence_is_filled_with_comments(serve):
    api = serve(*FLEET)
    with Reader(api) as reader:
        reader.next()
        reader.hear_comments(2)
        api.give(decision(1, 0.5, cause=30))
        assert reader.next()[0] == "decision"


def test_signs_of_life_say_how_far_behind_the_server_may_be(serve):
    api = serve(*FLEET)
    with Reader(api) as reader:
        reader.next()
        api.give(decision(1, 0.5, cause=30))
        reader.next()
        api.give(decision(1, 0.6, cause=31))
        reader.next()
        assert reader.comment == ": behind_s 1.500"


def test_a_reader_that_lacks_events_is_not_told_that_it_has_all(serve):
    api = serve(*FLEET)
    api.give(*(decision(1, 0.5, cause=cause) for cause in range(30, 250)))
    with Reader(api, "0/19") as reader:
        told = [reader.next() and reader.comment for _ in range(220)]
    assert (told[100], told[200]) == (": more follows", ": more follows")


def test_a_slow_reader_is_dropped_with_the_reason_and_holds_up_no_other(serve):
    api = serve(*FLEET, events_kept=50)
    slow = socket.create_connection(("127.0.0.1", api.server.port))
    slow.settimeout(60)
    slow.sendall(b"GET /v1/decisions/stream HTTP/1.0\r\n\r\n")
    with slow, Reader(api) as quick:
        assert quick.next()[0] == "snapshot"
        while b"snapshot" not in slow.recv(1 << 16):
            pass
        api.give(decision(1, 0.5, cause=30, policy="x" * 40_000_000))  # no socket holds that
        assert quick.next()[1] == "0/20"
        for cause in range(40, 140):
            api.give(decision(1, 0.5, cause=cause))
            assert quick.next()[0] == "decision"
        received = bytearray()
        while piece := slow.recv(1 << 20):
            received += piece
    assert received.endswith(
        b'event: dropped\ndata: {"why":"too slow: the events that you lack are not kept any more"}\n\n'
    )
    assert api.metric("gpu_vitals_api_streams_dropped_total") == 1


def test_readers_are_counted_and_limited(serve):
    api = serve(*FLEET, streams_max=2)
    with Reader(api) as one, Reader(api) as two:
        one.next(), two.next()
        assert api.metric("gpu_vitals_api_streams") == 2
        status, body = api.ask("/v1/decisions/stream")
        assert (status, body["why"]) == (503, "2 readers already follow the stream")
    deadline = time.monotonic() + 60
    while api.metric("gpu_vitals_api_streams"):  # noticed at the next sign of life
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_closing_ends_streams(serve):
    api = serve(*FLEET)
    with Reader(api) as reader:
        reader.next()
        asyncio.run(api.sink.close())
        assert reader.next() is None


def test_contract():
    def make():
        sink = DecisionsSink(Fleet())
        sink.caught_up()
        return Probe(sink, sink.fleet.gpus)

    changes = [decision(1, cause=1), decision(2, 0.5, cause=2), tombstone(1, cause=3), decision(2, 0.0, cause=4)]
    check_sink(make, topics.DECISIONS, records(changes))
