"""slurmrestd's API where the release of the system tests lacks it: answers as Slurm 24.11.5 gave them."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sinks.schedulers.adapter import Away, Refused
from sinks.schedulers.slurm.adapter import Slurm
from sinks.schedulers.slurm.names import NodeNames
from sinks.schedulers.slurm.node import PREFIX
from sinks.schedulers.slurm.rest import Rest
from sinks.schedulers.slurm.rest_client import RestClient

GONE = (500, {"errors": [{"description": "Failure to query node n9", "error_number": 0, "error": "No error"}]})
AWAY = "Unable to contact slurm controller (connect failure)"


class Server:
    """nodes: state and reason by name. answers: instead of what it would say, by method and path."""

    def __init__(self, address):
        self.url = address
        self.versions = {40: ("get", "post", "delete"), 41: ("get", "post"), 42: ("get", "post")}
        self.nodes = {"n0": (["IDLE"], ""), "n1": (["IDLE"], "")}
        self.jobs = []
        self.answers = {}
        self.asked = []
        self.headers = {}

    def answer(self, method, path, body):
        self.asked.append((method, path, body))
        if (method, path) in self.answers:
            return self.answers[method, path]
        if path == "/openapi/v3":
            calls = {f"/slurm/v0.0.{v}/node/{{node_name}}": {call: {} for call in c} for v, c in self.versions.items()}
            return 200, {"paths": {"/slurm/v0.0.38/ping": {"get": {}}, **calls}}
        _, _, _version, kind, *rest = path.split("/")
        if kind == "jobs":
            return 200, {"jobs": self.jobs, "errors": []}
        if kind == "nodes":
            return 200, {"nodes": [self._node(name) for name in self.nodes], "errors": []}
        if kind == "node" and method == "POST":
            self.nodes[rest[0]] = (["IDLE", *(["DRAIN"] if body["state"] == ["DRAIN"] else [])], body["reason"])
        elif kind == "node":
            return (200, {"nodes": [self._node(rest[0])], "errors": []}) if rest[0] in self.nodes else GONE
        return 200, {"errors": []}

    def _node(self, name):
        state, reason = self.nodes[name]
        return {"name": name, "state": state, "reason": reason}


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def _serve(self):
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            found.headers = dict(self.headers)
            status, told = found.answer(self.command, self.path, body)
            content = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        found = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        http.shutdown()
        thread.join()


def slurm(server, cancels=False, user="", token=None):
    return Slurm(Rest(RestClient(server.url, user, token, 20.0)), NodeNames({}, ""), cancels)


def call(answer):
    return asyncio.run(answer)


def look(to, node="n0"):
    return call(to.look([node]))[node]


def refused_by(server, method, path, error):
    server.answers[method, path] = (500, {"errors": [{"error": error, "description": "Failure"}]})


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ({40: ("get", "post"), 42: ("get", "post"), 44: ("get", "post")}, "v0.0.42"),
        ({39: ("get", "post"), 38: ("get",)}, "v0.0.39"),
        ({42: ("get",), 41: ("get", "post")}, "v0.0.41"),
    ],
)
def test_the_newest_version_that_both_know_and_that_changes_nodes_is_spoken(server, versions, chosen):
    server.versions = versions
    call(slurm(server).drain("n0", "x"))
    assert server.asked[-1] == ("POST", f"/slurm/{chosen}/node/n0", {"state": ["DRAIN"], "reason": f"{PREFIX}x"})


@pytest.mark.parametrize(
    ("versions", "has"),
    [
        ({37: ("get",), 38: ("get",)}, "v0.0.37, v0.0.38"),
        ({44: ("get", "post")}, "v0.0.44"),
        ({42: ("get",)}, "v0.0.42"),
        ({}, "none that changes nodes"),
    ],
)
def test_where_there_is_none_nothing_is_tried(server, versions, has):
    server.versions = versions
    for ask, error in ((slurm(server).add("n0"), Refused), (slurm(server).look(["n0"]), Away)):
        with pytest.raises(error, match=f'it has {has}; use Slurm\'s commands instead \\(access = "commands"\\)$'):
            call(ask)
    assert {path for _, path, _ in server.asked} == {"/openapi/v3"}


def test_a_drain_and_its_end(server):
    to = slurm(server)
    call(to.drain("n0", "x"))
    call(to.drain("n0", "y"))
    assert look(to)[:3] == ("removed", 0, True)
    assert server.nodes["n0"][1] == f"{PREFIX}x"
    call(to.add("n0"))
    assert look(to)[:3] == ("serving", 0, False)
    assert not server.nodes["n0"][1].startswith(PREFIX)
    assert [body["state"] for method, _, body in server.asked if method == "POST"] == [["DRAIN"], ["UNDRAIN"]]


def test_nodes_that_are_not_there(server):
    to = slurm(server)
    standings = call(to.look(["n0", "n9"]))
    assert [standings[name].state for name in ("n0", "n9")] == ["serving", "unknown"]
    many = [f"m{number}" for number in range(50)]
    server.asked.clear()
    assert call(to.look(["n1", *many]))["n1"].state == "serving"
    assert len(server.asked) == 2  # nodes, jobs


def test_jobs_of_the_node_are_cancelled_where_that_is_allowed_and_never_a_whole_array(server):
    task = {"array_job_id": {"set": True, "infinite": False, "number": 3}}
    task["array_task_id"] = {"set": True, "infinite": False, "number": 2}
    server.jobs = [
        {"job_id": 3, "job_state": ["RUNNING"], "nodes": "n[0-1]", **task},
        {"job_id": 4, "job_state": ["RUNNING", "COMPLETING"], "nodes": "n0"},
        {"job_id": 5, "job_state": ["RUNNING"], "nodes": "n1"},
        {"job_id": 6, "job_state": ["CANCELLED"], "nodes": "n0"},
    ]
    assert look(slurm(server)).in_flight == 2
    with pytest.raises(Refused, match=r"^n0: not requeued: 3_2 \(slurmrestd cannot requeue jobs\); "):
        call(slurm(server).force("n0", "x"))
    call(slurm(server, cancels=True).force("n0", "x"))
    assert [path for method, path, _ in server.asked if method == "DELETE"] == ["/slurm/v0.0.42/job/3_2"]
    refused_by(server, "DELETE", "/slurm/v0.0.42/job/3_2", "Job/step already completing or completed")
    call(slurm(server, cancels=True).force("n0", "x"))


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        ("Invalid user id", Refused, "AdminLevel"),
        ("Access/permission denied", Refused, "AdminLevel"),
        (AWAY, Away, "Unable to contact slurm controller"),
        ("Something new", Away, "Something new"),
    ],
)
def test_what_is_said_of_a_change_that_fails(server, error, raised, words):
    refused_by(server, "POST", "/slurm/v0.0.42/node/n0", error)
    with pytest.raises(raised, match=words) as said:
        call(slurm(server).drain("n0", "x"))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"errors": [{"error": AWAY}]}),
        (503, b"busy"),
        (200, b"<html>"),
        (200, []),
        (200, {}),
        (200, {"nodes": [{"name": "n0", "state": "idle"}]}),
    ],
)
def test_an_answer_that_tells_nothing_is_no_answer(server, answer):
    server.answers["GET", "/slurm/v0.0.42/node/n0"] = server.answers["GET", "/slurm/v0.0.42/nodes/"] = answer
    with pytest.raises(Away, match=server.url):
        look(slurm(server))


def test_an_upgrade_while_we_run_is_followed(server):
    to = slurm(server)
    look(to)
    server.versions = {41: ("get", "post")}
    server.answers["GET", "/slurm/v0.0.42/node/n0"] = (404, b"Unable find requested URL.")
    with pytest.raises(Away):
        look(to)
    assert look(to).state == "serving"


def test_the_token_is_read_for_each_request_and_never_said(server, tmp_path):
    token = tmp_path / "token"
    to = slurm(server, user="slurm", token=token)
    with pytest.raises(Away, match=f"^{token}: no such file or directory$"):
        look(to)
    for content, sent in (("SLURM_JWT=secret-1\n", "secret-1"), ("secret-2", "secret-2")):
        token.write_text(content)
        look(to)
        assert (server.headers["X-SLURM-USER-NAME"], server.headers["X-SLURM-USER-TOKEN"]) == ("slurm", sent)
    server.answers["GET", "/slurm/v0.0.42/node/n0"] = (401, b"Authentication failure")
    with pytest.raises(Away, match=r"401: not authenticated; look at rest_user and rest_token_file$"):
        look(to)
