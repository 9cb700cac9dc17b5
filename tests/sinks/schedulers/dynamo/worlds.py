"""Workers of Dynamo as they stand in a discovery, in the very form that ai-dynamo 1.6.1 writes; and a death of ours."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from sinks.schedulers.dynamo.adapter import Dynamo
from sinks.schedulers.dynamo.files import FileDiscovery
from sinks.schedulers.dynamo.saved import Saved
from sinks.schedulers.dynamo.workers import GpuMap

STEPS = ("fsync", "replace", "link", "unlink", "utime")  # what we do to disks, one by one


class Died(BaseException):
    """kill -9, as far as what is left on the disk goes."""


def instance_record(instance: str) -> bytes:
    return json.dumps(
        {
            "type": "Endpoint",
            "component": "backend",
            "endpoint": "generate",
            "namespace": "dynamo",
            "instance_id": int(instance, 16),
            "transport": {"tcp": f"127.0.0.1:44129/{instance}/dynamo/backend/generate"},
            "device_type": "cuda",
            "request_plane_codec": "msgpack",
        }
    ).encode()


def card(instance: str, gpus=None, address="") -> bytes:
    """address: of the worker's system server, where it serves its model's files; empty: it serves none."""
    base = f"http://{address}/v1/metadata/dynamo/backend/generate/tiny/_base/config.json" if address else "/models/tiny"
    data = {"output_replay_consumer": True} | ({"gpu_uuids": gpus} if gpus is not None else {})
    inside = {
        "display_name": "tiny",
        "model_info": {"hf_config_json": {"path": base, "checksum": "blake3:9c24", "size": 298}},
        "runtime_config": {"total_kv_blocks": 16384, "runtime_data": data},
    }
    return json.dumps(
        {
            "type": "Model",
            "namespace": "dynamo",
            "component": "backend",
            "endpoint": "generate",
            "instance_id": int(instance, 16),
            "card_json": inside,
        }
    ).encode()


class FileWorld:
    """A DYN_FILE_KV. The names of files are escaped as Dynamo does it: all but letters and digits."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.instances, self.cards = root / "v1/instances", root / "v1/mdc"
        for directory in (self.instances, self.cards):
            directory.mkdir(parents=True)

    def close(self) -> None:
        """There is nothing to close."""

    def discovery(self) -> FileDiscovery:
        return FileDiscovery(self.root)

    def new_instance(self, number: int) -> str:
        return f"d94e88a9acea22{number:02x}"

    def start(self, instance: str, gpus=None, address="") -> None:
        (self.cards / self._name(instance)).write_bytes(card(instance, gpus, address))
        self.register(instance)

    def register(self, instance: str, endpoint="generate") -> None:
        (self.instances / self._name(instance, endpoint)).write_bytes(instance_record(instance))

    def end(self, instance: str) -> None:
        """Its files are gone, too: the other workers have seen to it."""
        self.delete(instance)
        (self.cards / self._name(instance)).unlink()

    def delete(self, instance: str, endpoint="generate") -> None:
        (self.instances / self._name(instance, endpoint)).unlink(missing_ok=True)

    def standing(self) -> dict[str, bytes]:
        """All instance records, by their names."""
        return {path.name: path.read_bytes() for path in self.instances.iterdir()}

    def serving(self, instance: str) -> bool:
        return self.standing().get(self._name(instance)) == instance_record(instance)

    def age(self, instance: str, seconds: float) -> None:
        for path in (*self.instances.iterdir(), *self.cards.iterdir()):
            if path.name.endswith(instance):
                os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))

    @staticmethod
    def _name(instance: str, endpoint="generate") -> str:
        return quote(f"dynamo/backend/{endpoint}/{instance}", safe="").replace("_", "%5F")

    @contextmanager
    def dying(self, after: int):
        with dying_at(after):
            yield


@contextmanager
def dying_at(after: int):
    """Whoever does the (after + 1)-th step to a disk dies before it. Gives what makes steps of other functions, too."""
    done = 0
    real = {name: getattr(os, name) for name in STEPS}

    def step(what):
        def stepped(*args, **kwargs):
            nonlocal done
            if done == after:
                raise Died
            done += 1
            return what(*args, **kwargs)

        return stepped

    for name, what in real.items():
        setattr(os, name, step(what))
    try:
        yield step
    finally:
        for name, what in real.items():
            setattr(os, name, what)


def adapter(world, state: Path, gpu_map: Path | None = None, endpoints=("generate",), stop=None) -> Dynamo:
    return Dynamo(world.discovery(), Saved(state), GpuMap(gpu_map), endpoints, stop)


class SystemServer:
    """The page /metrics of workers: counts by instance."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                line = 'dynamo_component_inflight_requests{{dynamo_component="backend",dynamo_endpoint="{}",' + (
                    'dynamo_namespace="dynamo",worker_id="{}"}} {}\n'
                )
                page = "# TYPE dynamo_component_inflight_requests gauge\n"
                for instance, count in outer.counts.items():
                    page += line.format("worker_kv_query_source_1", instance, 7) + line.format(
                        "generate", instance, count
                    )
                body = page.encode()
                self.send_response(200 if self.path == "/metrics" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
