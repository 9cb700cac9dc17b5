"""The adapter of the HTTP contract, against the scheduler in docs/examples, over real sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from sinks.schedulers import http
from sinks.schedulers.adapter import Away, Gpu, Refused, Standing
from sinks.schedulers.http import HttpScheduler
from sinks.tickets.http_client import Secret

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "docs/examples/scheduler.py"
GPUS = [Gpu("n1", "GPU-1", "0000:01:00"), Gpu("n1", "GPU-2", "0000:02:00"), Gpu("n2", "", "0000:03:00")]


class Example:
    """The example as a process of its own; it can be killed, and started again at the same port."""

    def __init__(self, directory, *options):
        self.command = [sys.executable, str(EXAMPLE), "--holds", str(directory / "holds.json"), *options]
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [*self.command, "--listen", str(self.port), "n1/GPU-1", "n1/GPU-2"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.rpartition(":")[2])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def ask(self, method, path, body=None):
        request = Request(self.url + path, json.dumps(body).encode() if body else None, method=method)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def begin(self, count=1):
        return [self.ask("POST", "/requests") for _ in range(count)]

    def held_by(self, uuid):
        return self.ask("GET", f"/v1/gpus?uuid={uuid}")["gpus"][0]["owners"]


@contextmanager
def example(directory, *options):
    running = Example(directory, *options)
    try:
        yield running
    finally:
        running.kill()


@asynccontextmanager
async def adapter(url, token=None, owner="gpu-vitals"):
    made = HttpScheduler(url, Secret(token, "", {}), owner)
    try:
        yield made
    finally:
        await made.close()


async def until(true, within_s=60.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def seen(scheduler, unit, expected):
    """The watch may tell a moment after the answer."""
    async with asyncio.timeout(60):
        while (await scheduler.look([unit]))[unit] != expected:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("watches", [True, False])
def test_out_and_back_through_the_example(tmp_path, watches):
    async def story(running):
        async with adapter(running.url) as scheduler:
            if watches:
                assert await scheduler.units(GPUS) == {GPUS[0]: ("GPU-1",), GPUS[1]: ("GPU-2",), GPUS[2]: ()}
                await until(lambda: scheduler.is_watching)
            requests = running.begin(20)
            on_1 = [each["id"] for each in requests if each["uuid"] == "GPU-1"]
            assert 0 < len(on_1) < 20
            await scheduler.drain("GPU-1", "Xid 48")
            await seen(scheduler, "GPU-1", Standing("drained", len(on_1), True))
            assert {each["uuid"] for each in running.begin(20)} == {"GPU-2"}
            for number in on_1:
                running.ask("DELETE", f"/requests/{number}")
            await seen(scheduler, "GPU-1", Standing("drained", 0, True))
            await scheduler.remove("GPU-1", "reset")
            await scheduler.drain("GPU-1", "again")
            await seen(scheduler, "GPU-1", Standing("removed", 0, True))
            await scheduler.add("GPU-1")
            await scheduler.add("GPU-1")
            await seen(scheduler, "GPU-1", Standing("serving", 0))
            assert "GPU-9" not in await scheduler.look(["GPU-9"])
            with pytest.raises(Refused, match="no GPU GPU-9 here"):
                await scheduler.drain("GPU-9", "")
            assert scheduler.is_watching is watches

    with example(tmp_path) as running:
        asyncio.run(story(running))


def test_the_last_request_of_a_drain_is_news_at_once(tmp_path):
    async def story(running):
        async with adapter(running.url) as scheduler:
            (request,) = running.begin()
            unit = request["uuid"]
            await scheduler.drain(unit, "Xid 48")
            await scheduler.units(GPUS)
            await until(lambda: scheduler.is_watching)
            assert (await scheduler.look([unit]))[unit] == Standing("drained", 1, True)
            async with asyncio.timeout(60):
                await scheduler.news()  # of the beginning
                running.ask("DELETE", f"/requests/{request['id']}")
                await scheduler.news()
            assert (await scheduler.look([unit]))[unit] == Standing("drained", 0, True)

    with example(tmp_path) as running:
        asyncio.run(story(running))


def test_force_ends_what_runs(tmp_path):
    async def story(running):
        async with adapter(running.url) as scheduler:
            running.begin(10)
            await scheduler.drain("GPU-1", "")
            await scheduler.force("GPU-1", "")
            assert (await scheduler.look(["GPU-1"]))["GPU-1"] == Standing("drained", 0, True)
            assert "GPU-1" not in running.ask("GET", "/requests").values()

    with example(tmp_path) as running:
        asyncio.run(story(running))


@pytest.mark.parametrize(("at_once", "all_from"), [(1, 100), (2, 100), (100, 2)])
def test_however_many_are_asked_for_all_are_told(tmp_path, monkeypatch, at_once, all_from):
    monkeypatch.setattr(http, "ASKED_AT_ONCE", at_once)
    monkeypatch.setattr(http, "ASKED_FOR_ALL", all_from)

    async def story(running):
        async with adapter(running.url) as scheduler:
            assert (await scheduler.look(["GPU-1", "GPU-2", "GPU-9"])).keys() == {"GPU-1", "GPU-2"}
            assert (await scheduler.look(["GPU-2"])).keys() == {"GPU-2"}

    with example(tmp_path) as running:
        asyncio.run(story(running))


def test_what_others_hold_stays_held(tmp_path):
    async def story(running):
        async with adapter(running.url) as ours, adapter(running.url, owner="ann") as anns:
            await anns.drain("GPU-1", "my own reasons")
            assert (await ours.look(["GPU-1"]))["GPU-1"] == Standing("drained", 0, False, "held by ann")
            await ours.remove("GPU-1", "")
            await ours.add("GPU-1")
            assert running.held_by("GPU-1") == ["ann"]
            await ours.drain("GPU-1", "")
            await anns.add("GPU-1")
            assert running.held_by("GPU-1") == ["gpu-vitals"]

    with example(tmp_path) as running:
        asyncio.run(story(running))


def test_a_scheduler_that_dies_is_away_and_knows_its_holds_when_it_is_back(tmp_path):
    async def story(running):
        async with adapter(running.url) as scheduler:
            await scheduler.units(GPUS)
            await until(lambda: scheduler.is_watching)
            await scheduler.drain("GPU-1", "")
            running.kill()
            await until(lambda: not scheduler.is_watching)
            for ask in (scheduler.look(["GPU-1"]), scheduler.drain("GPU-2", ""), scheduler.add("GPU-1")):
                with pytest.raises(Away, match="Connection refused"):
                    await ask
            running.start()
            await until(lambda: scheduler.is_watching)
            assert (await scheduler.look(["GPU-1"]))["GPU-1"] == Standing("drained", 0, True)

    with example(tmp_path) as running:
        asyncio.run(story(running))


def test_a_token_is_shown_and_read_anew(tmp_path):
    token = tmp_path / "token"
    token.write_text("secret\n")

    async def story(running):
        ours = tmp_path / "ours"
        ours.write_text("wrong")
        async with adapter(running.url, ours) as scheduler:
            with pytest.raises(Away, match="401 Unauthorized: a token is needed, and this is none") as error:
                await scheduler.look(["GPU-1"])
            assert "wrong" not in str(error.value)
            ours.write_text("secret")
            assert (await scheduler.look(["GPU-1"]))["GPU-1"].state == "serving"
            await scheduler.units(GPUS)
            await until(lambda: scheduler.is_watching)

    with example(tmp_path, "--token-file", str(token)) as running:
        asyncio.run(story(running))


def test_the_example_routes_by_weight(tmp_path):
    class Decisions(BaseHTTPRequestHandler):
        """As `gpu-vitals sink decisions` says them: GPU-1 gets nothing, GPU-2 all."""

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            gpus = [{"key": f"GPU-{n}", "weight": n - 1.0, "condition": "healthy"} for n in (1, 2)]
            said = [{"offset": n, "origin": f"0/cluster/0/{n}/0", "ts": n, **gpu} for n, gpu in enumerate(gpus)]
            as_of = {"id": "0/1", "offset": 1, "origin": "0/cluster/0/1/0", "ts": 1, "behind_s": 0.0}
            self.wfile.write(
                b"id: 0/1\nevent: snapshot\ndata: " + json.dumps({"as_of": as_of, "gpus": said}).encode() + b"\n\n"
            )

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Decisions) as decisions:
        Thread(target=decisions.serve_forever, daemon=True).start()
        with example(tmp_path, "--decisions", f"http://127.0.0.1:{decisions.server_port}") as running:
            assert {each["uuid"] for each in running.begin(20)} == {"GPU-2"}
            running.ask("POST", "/v1/gpus/GPU-2/drain", {"owner": "ann"})
            with pytest.raises(HTTPError, match="503"):
                running.begin()
        decisions.shutdown()


@contextmanager
def answering(status, kind, body):
    """A server that answers everything with this."""

    class Always(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Always) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


PROBLEM = json.dumps({"title": "No", "status": 0, "detail": "not on a Sunday"}).encode()


@pytest.mark.parametrize(
    ("status", "error"),
    [(422, Refused), (403, Refused), (404, Refused), (500, Away), (503, Away), (429, Away), (401, Away), (302, Away)],
)
def test_which_answers_mean_later_and_which_never(status, error):
    async def story(url):
        async with adapter(url) as scheduler:
            with pytest.raises(error, match=r"not on a Sunday$"):
                await scheduler.force("GPU-1", "")
            with pytest.raises(Away):
                await scheduler.look(["GPU-1"])

    with answering(status, "application/problem+json", PROBLEM) as url:
        asyncio.run(story(url))


@pytest.mark.parametrize(
    ("body", "standing"),
    [
        ({"uuid": "GPU-1", "state": "drained"}, Standing("drained")),
        ({"uuid": "GPU-1", "state": "melted"}, Standing("unknown", detail="state 'melted' is none that we know")),
        ({"uuid": "GPU-1", "state": "serving", "in_flight": None, "new": 1}, Standing("serving")),
    ],
)
def test_what_a_scheduler_leaves_out_or_adds_is_taken_as_it_is(body, standing):
    async def story(url):
        async with adapter(url) as scheduler:
            assert await scheduler.look(["GPU-1"]) == {"GPU-1": standing}

    with answering(200, "application/json", json.dumps({"gpus": [body]}).encode()) as url:
        asyncio.run(story(url))


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"gpus": [{"uuid": 3}]}'])
def test_what_is_no_scheduler_is_not_believed(body):
    async def story(url):
        async with adapter(url) as scheduler:
            with pytest.raises(Away, match=r"is that the right address|not the answer of a scheduler"):
                await scheduler.look(["GPU-1"])

    with answering(200, "application/json", body) as url:
        asyncio.run(story(url))


def test_a_watch_that_tells_nonsense_is_not_relied_on():
    events = b'event: gpus\ndata: {"gpus": [{"uuid": "GPU-1", "state": "drained", "owners": []}]}\n\n'

    async def story(url):
        async with adapter(url) as scheduler:
            await scheduler.units(GPUS)
            async with asyncio.timeout(60):
                await scheduler.news()
            await until(lambda: not scheduler.is_watching)
            with pytest.raises(Away):
                await scheduler.look(["GPU-1"])

    with answering(200, "text/event-stream", events + b"event: gpu\ndata: {\n\n") as url:
        asyncio.run(story(url))


def test_a_server_that_accepts_and_says_nothing_is_away():
    async def story(port):
        async with adapter(f"http://127.0.0.1:{port}") as scheduler:
            scheduler._client._timeout_s = 0.2
            with pytest.raises(Away, match="timed out"):
                await scheduler.look(["GPU-1"])

    with socket.create_server(("127.0.0.1", 0)) as server:
        asyncio.run(story(server.getsockname()[1]))
