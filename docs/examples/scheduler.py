"""A small scheduler: sends requests to GPUs by their health weights, and lets GPU Vitals take GPUs out.

    python docs/examples/scheduler.py --listen 8088 --decisions http://127.0.0.1:9109 node-0/GPU-1 node-0/GPU-2

Serves docs/scheduler-http.openapi.yaml, and for its users:

    POST /requests               begins a request: {"id": 1, "uuid": "GPU-1"}; 503 where no GPU may have it
    DELETE /requests/1           it has ended
    GET /requests                which GPU each one runs on

With a weight of 0 a GPU gets nothing, and neither while somebody holds it. Holds are kept in a file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.client import HealthWeights, HttpSource

ALIVE_S = 10.0


class Problem(Exception):
    """status: of the answer. title: in words."""

    def __init__(self, status: int, title: str) -> None:
        super().__init__(title)
        self.status = status


class Scheduler:
    """gpus: UUID -> node. weight: of a GPU, 0.0 to 1.0; None: nothing is known of it, and it gets nothing."""

    def __init__(self, gpus: dict[str, str], weight: Callable[[str], float | None], holds: Path) -> None:
        self.gpus = gpus
        self._weight = weight
        self._file = holds
        self._holds: dict[str, dict[str, bool]] = json.loads(holds.read_text()) if holds.exists() else {}
        self._requests: dict[int, str] = {}
        self._began = 0
        self._changes = 0
        self._changed_at: dict[str, int] = {}  # UUID -> its latest change
        self._changed = threading.Condition()

    # --- for users -------------------------------------------------------------------------------------------------

    def begin(self) -> dict[str, object]:
        with self._changed:
            free = [uuid for uuid in self.gpus if not self._holds.get(uuid)]
            weights = [self._weight(uuid) or 0.0 for uuid in free]
            if not any(weights):
                raise Problem(503, "no GPU may have it")
            self._began += 1
            self._requests[self._began] = uuid = random.choices(free, weights)[0]
            return {"id": self._began, "uuid": uuid}

    def end(self, number: int) -> dict[str, object]:
        with self._changed:
            uuid = self._requests.pop(number, None)
            if uuid and self._holds.get(uuid):
                self._tell(uuid)
            return {}

    def running(self) -> dict[str, object]:
        with self._changed:
            return {str(number): uuid for number, uuid in self._requests.items()}

    # --- for GPU Vitals --------------------------------------------------------------------------------------------

    def list(self, uuids: list[str] | None = None) -> dict[str, object]:
        with self._changed:
            running = Counter(self._requests.values())
            return {"gpus": [self._gpu(uuid, running[uuid]) for uuid in uuids or self.gpus if uuid in self.gpus]}

    def drain(self, uuid: str, owner: str, force: bool, remove: bool) -> dict[str, object]:
        with self._changed:
            self._check(uuid)
            held = self._holds.get(uuid, {})
            self._hold(uuid, {**held, owner: held.get(owner, False) or remove})
            if force or remove:  # a real one would have them go on elsewhere
                self._requests = {number: on for number, on in self._requests.items() if on != uuid}
            self._tell(uuid)
            return self._gpu(uuid, self._in_flight(uuid))

    def undrain(self, uuid: str, owner: str) -> dict[str, object]:
        with self._changed:
            self._check(uuid)
            self._hold(uuid, {each: remove for each, remove in self._holds.get(uuid, {}).items() if each != owner})
            self._tell(uuid)
            return self._gpu(uuid, self._in_flight(uuid))

    def watch(self) -> Iterator[bytes]:
        with self._changed:
            seen, first = self._changes, event("gpus", self.list())
        yield first
        while True:
            with self._changed:
                self._changed.wait(0.0 if self._changes > seen else ALIVE_S)
                news = [uuid for uuid, change in self._changed_at.items() if change > seen]
                told = b"".join(event("gpu", self._gpu(uuid, self._in_flight(uuid))) for uuid in news)
                seen = self._changes
            yield told or b": alive\n\n"

    def _gpu(self, uuid: str, in_flight: int) -> dict[str, object]:
        held = self._holds.get(uuid, {})
        state = "removed" if any(held.values()) else "drained" if held else "serving"
        return {"uuid": uuid, "node": self.gpus[uuid], "state": state, "in_flight": in_flight, "owners": sorted(held)}

    def _in_flight(self, uuid: str) -> int:
        return sum(on == uuid for on in self._requests.values())

    def _check(self, uuid: str) -> None:
        if uuid not in self.gpus:
            raise Problem(404, f"no GPU {uuid} here")

    def _hold(self, uuid: str, held: dict[str, bool]) -> None:
        """Durable before it counts: whoever was told that a GPU is out may rely on it."""
        holds = {**self._holds, uuid: held}
        new = self._file.with_suffix(".new")
        with new.open("w") as file:
            json.dump(holds, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)
        self._holds = holds

    def _tell(self, uuid: str) -> None:
        self._changes += 1
        self._changed_at[uuid] = self._changes
        self._changed.notify_all()


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


class Handler(BaseHTTPRequestHandler):
    scheduler: Scheduler
    token: str | None = None

    def handle_request(self) -> None:
        url = urlsplit(self.path)
        path, query = [unquote(part) for part in url.path.split("/")[1:]], parse_qs(url.query)
        said = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        try:
            if path[0] == "v1" and self.token and self.headers["Authorization"] != f"Bearer {self.token}":
                raise Problem(401, "a token is needed, and this is none")
            if (self.command, path) == ("GET", ["v1", "gpus", "watch"]):
                self.stream(self.scheduler.watch())
                return
            self.answer(200, "application/json", self.route(path, query, said))
        except Problem as problem:
            self.answer(problem.status, "application/problem+json", {"title": str(problem), "status": problem.status})

    do_GET = do_POST = do_DELETE = handle_request  # noqa: N815

    def route(self, path: list[str], query: dict[str, list[str]], said: dict[str, object]) -> object:
        match [self.command, *path]:
            case ["POST", "requests"]:
                return self.scheduler.begin()
            case ["DELETE", "requests", number] if number.isdecimal():
                return self.scheduler.end(int(number))
            case ["GET", "requests"]:
                return self.scheduler.running()
            case ["GET", "v1", "gpus"]:
                return self.scheduler.list(query.get("uuid"))
            case ["POST", "v1", "gpus", uuid, ("drain" | "undrain") as what]:
                owner = said.get("owner")
                if not owner or not isinstance(owner, str):
                    raise Problem(422, "owner: who wants it?")
                if what == "undrain":
                    return self.scheduler.undrain(uuid, owner)
                return self.scheduler.drain(uuid, owner, said.get("force") is True, said.get("remove") is True)
        raise Problem(404, f"nothing at {self.path}")

    def answer(self, status: int, kind: str, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for piece in events:
                self.wfile.write(piece)
        except OSError:  # the reader has left
            pass

    def log_message(self, *args: object) -> None:
        """Quiet."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--listen", type=int, default=8088, metavar="PORT")
    parser.add_argument("--decisions", metavar="URL", help="of `gpu-vitals sink decisions`; without it all weigh 1.0")
    parser.add_argument("--token-file", type=Path, metavar="FILE")
    parser.add_argument("--holds", type=Path, default=Path("holds.json"), metavar="FILE")
    parser.add_argument("gpus", nargs="+", metavar="NODE/UUID")
    options = parser.parse_args()
    gpus = {uuid: node for node, _, uuid in (gpu.rpartition("/") for gpu in options.gpus)}
    weights = HealthWeights(HttpSource(options.decisions)) if options.decisions else None
    if weights:
        weights.__enter__().wait_ready()
    Handler.scheduler = Scheduler(gpus, weights.weight if weights else lambda uuid: 1.0, options.holds)
    Handler.token = options.token_file.read_text().strip() if options.token_file else None
    server = ThreadingHTTPServer(("127.0.0.1", options.listen), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
