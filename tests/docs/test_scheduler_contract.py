"""docs/scheduler-http.openapi.yaml is a sound document, and the example and our adapter keep to it."""

from __future__ import annotations

import asyncio
import json
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError

import jsonschema
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from sinks.event_lines import EventLines
from tests.sinks.schedulers.test_http import adapter, example

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = yaml.safe_load((ROOT / "docs/scheduler-http.openapi.yaml").read_text("utf-8"))


def check(name, document):
    """Raises where `document` is not what the contract calls so."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    jsonschema.Draft202012Validator(schema).validate(document)


def test_the_contract_is_a_valid_openapi_document():
    validate(CONTRACT, cls=OpenAPIV31SpecValidator)


def test_the_example_answers_as_the_contract_says(tmp_path):
    with example(tmp_path) as running:
        check("Gpus", running.ask("GET", "/v1/gpus"))
        for body in ({"owner": "ann"}, {"owner": "ann", "note": "n", "force": True}, {"owner": "ann", "remove": True}):
            check("Drain", body)
            check("Gpu", running.ask("POST", "/v1/gpus/GPU-1/drain", body))
        check("Gpu", running.ask("POST", "/v1/gpus/GPU-1/undrain", {"owner": "ann"}))
        for path, body in (("/v1/gpus/GPU-9/drain", {"owner": "ann"}), ("/v1/gpus/GPU-1/drain", {"note": "n"})):
            with pytest.raises(HTTPError) as error:
                running.ask("POST", path, body)
            with error.value as answer:
                assert answer.headers.get_content_type() == "application/problem+json"
                check("Problem", json.load(answer))


def test_the_events_of_the_example_are_those_of_the_contract(tmp_path):
    from urllib.request import urlopen

    with example(tmp_path) as running, urlopen(f"{running.url}/v1/gpus/watch", timeout=60) as stream:
        lines, events = EventLines(), []
        while len(events) < 2:
            events += lines.feed(stream.read1(1 << 16))
            if len(events) == 1:
                running.ask("POST", "/v1/gpus/GPU-1/drain", {"owner": "ann"})
        assert [event.name for event in events] == ["gpus", "gpu"]
        check("Gpus", json.loads(events[0].data))
        check("Gpu", json.loads(events[1].data))


def test_our_adapter_asks_for_nothing_that_is_not_in_the_contract():
    asked = []

    class Takes(BaseHTTPRequestHandler):
        def do_GET(self):
            said = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command.lower(), self.path.partition("?")[0], json.loads(said) if said else None))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"gpus": []}')

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    async def story(url):
        async with adapter(url) as scheduler:
            await scheduler.look(["GPU-1"])
            await scheduler.drain("GPU-1", "n")
            await scheduler.force("GPU-1", "n")
            await scheduler.remove("GPU-1", "n")
            await scheduler.add("GPU-1")

    with HTTPServer(("127.0.0.1", 0), Takes) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        asyncio.run(story(f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
    assert len(asked) == 5
    for method, path, body in asked:
        template = re.sub("GPU-[0-9]+", "{uuid}", path)
        operation = CONTRACT["paths"][template][method]
        if body is not None:
            reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            check(reference.rpartition("/")[2], body)
