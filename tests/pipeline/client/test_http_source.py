"""Weights over HTTP, from a real server: followed through restarts, silence and servers that know less."""

from __future__ import annotations

import random
import socket
from contextlib import contextmanager, suppress
from threading import Thread

import pytest

from pipeline.client import HealthWeights, HttpSource, NoHealthyGpus
from pipeline.errors import UsageProblem
from pipeline.kafka.testing import decision, tombstone

ONE, TWO, THREE = (decision(gpu).key for gpu in (1, 2, 3))
FAST = {"backoff_s": (0.02, 0.1)}
SNAPSHOT = (
    b'id: 0/3\nevent: snapshot\ndata: {"as_of":{"id":"0/3","offset":3,"origin":"","ts":1,"behind_s":0},'
    b'"gpus":[{"key":"GPU-a","offset":3,"origin":"","weight":0.5,"condition":"of a newer version"}]}\n\n'
)


@contextmanager
def following(url, **options):
    source = {key: options.pop(key) for key in ("headers", "silence_s") if key in options}
    with HealthWeights(HttpSource(url, **FAST, **source), **options) as weights:
        weights.wait_ready()
        assert weights.age_s < 60.0
        yield weights


def test_what_stands_and_what_comes(api, soon):
    api.give(decision(1, cause=1), decision(2, 0.5, cause=2))
    with following(api.url) as weights:
        assert weights.weights() == {ONE: 1.0, TWO: 0.5}
        assert weights.as_of.id == "0/1"
        api.give(decision(1, 0.0, cause=3), tombstone(2, cause=4), decision(3, cause=5))
        soon(lambda: weights.weights() == {ONE: 0.0, THREE: 1.0})
        assert {weights.select(random.Random(seed)) for seed in range(20)} == {THREE}
        assert weights.as_of.id == "0/4"


def test_it_waits_for_a_server_that_still_reads(api, soon, caplog):
    api.give(decision(1, cause=1), live=False)
    with HealthWeights(HttpSource(api.url, **FAST)) as weights:
        soon(lambda: "503 Service Unavailable" in weights.problem)
        with pytest.raises(NoHealthyGpus, match="have not been read to their end yet"):
            weights.select()
        with pytest.raises(TimeoutError, match=r"no weights after 0\.01 s: http.*: 503"):
            weights.wait_ready(0.01)
        api.give(decision(2, cause=2))
        weights.wait_ready()
        assert weights.weights() == {ONE: 1.0, TWO: 1.0}
        soon(lambda: not weights.problem)
    assert len([line for line in caplog.messages if "503" in line]) == 1


def test_a_server_that_restarts_is_found_again_and_what_was_missed_is_made_up_for(api, soon):
    api.give(decision(1, cause=1), decision(2, cause=2))
    with following(api.url) as weights:
        api.close()
        soon(lambda: weights.problem)
        assert weights.weights() == {ONE: 1.0, TWO: 1.0}
        api.open()
        api.give(decision(1, cause=1), decision(2, cause=2), decision(2, 0.3, cause=7), tombstone(1, cause=8))
        soon(lambda: weights.weights() == {TWO: 0.3})


def test_a_server_that_knows_less_takes_no_weight_back(api, soon):
    api.give(*(decision(1, cause=cause) for cause in (1, 2)), decision(1, 0.0, cause=3))
    with following(api.url, stale_after_s=1.0) as weights:
        api.close()
        api.open()
        api.give(decision(1, cause=1))
        soon(lambda: weights.stale)  # it speaks, but not of what is known here
        soon(lambda: "knows decisions up to 0/0 only, older than 0/2, which are kept" in weights.problem)
        assert weights.weights() == {ONE: 0.0}
        api.give(decision(1, cause=2), decision(1, 0.0, cause=3), decision(2, 0.4, cause=4))
        soon(lambda: weights.weights() == {ONE: 0.0, TWO: 0.4} and not weights.stale)
        soon(lambda: not weights.problem)


def test_a_log_that_was_made_anew_is_taken_as_such(api, soon):
    api.give(*(decision(1, cause=cause) for cause in range(5)), decision(2, 0.0, cause=9))
    with following(api.url) as weights:
        api.close()
        api.open(generation=1)
        api.give(decision(2, cause=0))
        soon(lambda: weights.weights() == {TWO: 1.0})


def test_a_server_without_a_broker_makes_the_view_old(api, soon):
    api.give(decision(1, cause=1))
    with following(api.url, stale_after_s=5.0, stale="stop") as weights:
        soon(lambda: weights.age_s < 1.0)
        api.behind_s = 600.0
        soon(lambda: weights.age_s > 0.2)  # whatever it says since, the view is no younger
        assert weights.select() == ONE
        api.behind_s = 0.0
        soon(lambda: weights.age_s < 0.2)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def aged(api, soon, policy, **options):
    """Weights that were current 61 s ago, and nobody to ask."""
    clock = Clock()
    weights = HealthWeights(HttpSource(api.url, **FAST, clock=clock), stale=policy, clock=clock, **options).start()
    weights.wait_ready()
    assert not weights.stale
    api.close()
    soon(lambda: weights.problem)
    clock.now += 61.0
    assert weights.stale
    return weights


def test_stale_weights_stay_in_force_where_told_to_freeze_and_that_is_said_once(api, soon, caplog):
    api.give(decision(1, 0.4, cause=1), decision(2, 0.0, cause=2))
    weights = aged(api, soon, "freeze")
    assert {weights.select() for _ in range(50)} == {ONE}
    assert len([line for line in caplog.messages if "may be 61 s old" in line and "they stay in force" in line]) == 1
    api.open()
    api.give(decision(1, 0.4, cause=1), decision(2, 0.0, cause=2))
    soon(lambda: not weights.stale)
    weights.select()
    assert caplog.messages[-1] == "health weights: current again"
    weights.close()


def test_stale_weights_select_nothing_where_told_to_stop(api, soon):
    api.give(decision(1, cause=1))
    weights = aged(api, soon, "stop")
    for choose in (weights.select, lambda: weights.select_many(None, 1)):
        with pytest.raises(NoHealthyGpus, match=r"no healthy GPUs available: the weights may be 61 s old .*60\): http"):
            choose()
    weights.close()


def test_a_server_that_says_nothing_is_left(soon):
    """It takes connections, answers, and falls silent: as behind a network that drops packets."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        taken = []

        def serve():
            for _ in range(2):
                taken.append(silent.accept()[0])
                taken[-1].sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1000\n\n")

        Thread(target=serve, daemon=True).start()
        source = HttpSource(f"http://127.0.0.1:{silent.getsockname()[1]}", silence_s=0.1, **FAST)
        with HealthWeights(source) as weights:
            soon(lambda: len(taken) == 2 and "timed out" in weights.problem)
        for one in taken:
            one.close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>hello", "text/html, not with events"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\nwho are you?", "401 Unauthorized who are you?"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: snapshot\ndata: {\n\n", "truncated"),
        (b"nonsense\r\n\r\n", "nonsense"),
    ],
)
def test_what_is_no_server_of_ours_is_named(soon, answer, problem):
    asked = []

    def serve(server):
        while True:
            try:
                one = server.accept()[0]
            except OSError:
                return
            with one, suppress(OSError):  # a client that has gone meanwhile
                asked.append(one.recv(10_000))
                one.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=serve, args=(server,), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/fleet/"
        with HealthWeights(HttpSource(url, headers={"Authorization": "Bearer x"}, **FAST)) as weights:
            soon(lambda: problem in weights.problem)
    assert asked[0].startswith(b"GET /fleet/v1/decisions/stream HTTP/1.1")
    assert b"Authorization: Bearer x" in asked[0]


def test_a_proxy_may_cut_the_stream_into_chunks_and_keep_the_connection(soon):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            one = server.accept()[0]
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (SNAPSHOT[:50], SNAPSHOT[50:-1], SNAPSHOT[-1:]):
                one.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            one.recv(1)  # nothing more, until the reader goes
            one.close()

        Thread(target=serve, daemon=True).start()
        with following(f"http://127.0.0.1:{server.getsockname()[1]}") as weights:
            assert weights.weights() == {"GPU-a": 0.5}


def test_a_connection_that_was_cut_is_resumed_behind_what_is_known(soon):
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for _ in range(2):
                with server.accept()[0] as one:
                    asked.append(one.recv(10_000))
                    one.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + SNAPSHOT)

        Thread(target=serve, daemon=True).start()
        with following(f"http://127.0.0.1:{server.getsockname()[1]}"):
            soon(lambda: len(asked) == 2)
    assert b"Last-Event-ID" not in asked[0]
    assert b"Last-Event-ID: 0/3\r\n" in asked[1]


@pytest.mark.parametrize("url", ["127.0.0.1:9109", "ftp://x", "http://", "http://h:99999"])
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(UsageProblem, match="not a URL"):
        HttpSource(url)
