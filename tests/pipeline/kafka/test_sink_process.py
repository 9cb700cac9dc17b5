"""`gpu-vitals sink` as processes on a real Kafka, killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.kafka import wire
from pipeline.kafka.settings import Kafka
from pipeline.kafka.testing import decision, publish, tombstone
from pipeline.kafka.topics import create
from schemas import fields, frames, topics
from schemas.records import Gpu

WAIT_S = 60.0


class Process:
    """A sink that runs. lines: what it has printed so far; log: what it has said on standard error."""

    def __init__(self, kafka, *args):
        command = [sys.executable, "-m", "pipeline", "sink", *args]
        environment = {
            **os.environ,
            "GPU_VITALS_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "GPU_VITALS_KAFKA_PREFIX": kafka.prefix,
            "GPU_VITALS_KAFKA_SESSION_TIMEOUT_S": "2",
        }
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines, self.log = [], []
        pairs = ((self.process.stdout, self.lines), (self.process.stderr, self.log))
        self.readers = [threading.Thread(target=into.extend, args=(pipe,)) for pipe, into in pairs]
        for reader in self.readers:
            reader.start()

    @property
    def url(self):
        wait_for(lambda: self.log or self.process.poll() is not None)
        return re.search(r"http://[\d.]+:\d+", self.log[0])[0]

    def ask(self, path):
        """Status and document."""
        try:
            with urlopen(self.url + path, timeout=WAIT_S) as answer:
                body = answer.read()
                return answer.status, json.loads(body) if body.startswith(b"{") else body.decode()
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    def weights(self):
        status, body = self.ask("/v1/gpus")
        return {gpu["key"]: gpu["weight"] for gpu in body["gpus"]} if status == 200 else None

    def end(self, how=signal.SIGTERM, within_s=WAIT_S):
        self.process.send_signal(how)
        code = self.process.wait(within_s)
        for reader in self.readers:
            reader.join()
        return code


@contextmanager
def sink(kafka, *args):
    running = Process(kafka, *args)
    try:
        yield running
    finally:
        running.end(signal.SIGKILL)
        sys.stderr.writelines(running.log)  # pytest shows it where a test fails
        running.process.stdout.close()
        running.process.stderr.close()


def wait_for(true, within_s=WAIT_S):
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def say(kafka, *outputs, commit=True):
    asyncio.run(publish(kafka, outputs, commit=commit))


def put(kafka, topic, *values, key="GPU-x", kind="", partition=None):
    async def run():
        producer = AIOKafkaProducer(**kafka.client())
        await producer.start()
        for value in values:
            await producer.send_and_wait(
                kafka.topic(topic), value, key.encode(), partition, headers=wire.headers(kind) if kind else None
            )
        await producer.stop()

    asyncio.run(run())


# --- decisions -------------------------------------------------------------------------------------------------


def test_schedulers_read_what_is_committed_also_after_kill_9(kafka: Kafka) -> None:
    say(kafka, *(decision(gpu) for gpu in range(4)))
    say(kafka, decision(1, 0.1, cause=5), commit=False)
    with sink(kafka, "decisions", "--listen", "0") as api:
        wait_for(lambda: api.ask("/readyz")[0] == 200)
        assert api.weights() == {decision(gpu).key: 1.0 for gpu in range(4)}
        say(kafka, decision(2, 0.0, cause=6), tombstone(3, cause=7))
        expected = {decision(0).key: 1.0, decision(1).key: 1.0, decision(2).key: 0.0}
        wait_for(lambda: api.weights() == expected)
        before = api.ask("/v1/gpus")[1]
        api.end(signal.SIGKILL)
    with sink(kafka, "decisions", "--listen", "0") as api:
        wait_for(api.weights)
        after = api.ask("/v1/gpus")[1]
        assert after["gpus"] == before["gpus"]
        assert after["as_of"]["id"] == before["as_of"]["id"]
        assert api.end() == 0


def test_a_bad_record_between_two_decisions_hides_neither(kafka: Kafka) -> None:
    with sink(kafka, "decisions", "--listen", "0") as api:
        say(kafka, decision(1))
        put(kafka, topics.DECISIONS, b'{"v":99}')
        say(kafka, decision(2))
        wait_for(lambda: api.weights() == {decision(1).key: 1.0, decision(2).key: 1.0})
        page = api.ask("/metrics")[1]
        assert 'gpu_vitals_sink_unreadable_total{sink="decisions",topic="decisions"} 1.0' in page
        assert 'gpu_vitals_sink_dead_letters_total{sink="decisions"} 1.0' in page
        assert 'gpu_vitals_sink_records_total{sink="decisions",topic="decisions"} 2.0' in page
        wait_for(lambda: 'gpu_vitals_sink_lag_records{sink="decisions"} 0.0' in api.ask("/metrics")[1])
        api.end()
        assert sum("left out: schema version 99, expected 1" in line for line in api.log) == 1


def test_a_client_that_follows_the_events_goes_on_where_it_was(kafka: Kafka) -> None:
    say(kafka, decision(1), decision(2))
    with sink(kafka, "decisions", "--listen", "0") as api:
        wait_for(api.weights)
        with events(api) as following:
            name, last_id, body = next(following)
            assert (name, len(body["gpus"])) == ("snapshot", 2)
            say(kafka, decision(1, 0.5, cause=3))
            name, last_id, gpu = next(following)
            assert (name, gpu["weight"], last_id) == ("decision", 0.5, f"0/{gpu['offset']}")
        say(kafka, decision(1, 0.0, cause=4))
        say(kafka, decision(1, 0.9, cause=5), commit=False)
        say(kafka, decision(2, 0.2, cause=6))
        with events(api, last_id) as following:
            seen = [next(following) for _ in range(2)]
        assert [(name, gpu["weight"]) for name, _, gpu in seen] == [("decision", 0.0), ("decision", 0.2)]


@contextmanager
def events(api, last_id=None):
    """(name, id, data) of the server-sent events, as a client that knows the standard reads them."""
    headers = {"Last-Event-ID": last_id} if last_id else {}

    def read(answer):
        fields = {}
        for line in answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if "event" in fields and not name:
                yield fields["event"], fields["id"], json.loads(fields["data"])
                fields = {}
            elif name:
                fields[name] = value

    with urlopen(Request(api.url + "/v1/decisions/stream", headers=headers), timeout=WAIT_S) as answer:
        yield read(answer)


def test_an_outage_of_the_broker_leaves_the_view_readable_and_it_goes_on(own_broker) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=1)
    asyncio.run(create(kafka))
    say(kafka, decision(1))
    with sink(kafka, "decisions", "--listen", "0") as api:
        wait_for(api.weights)
        own_broker.kill()
        wait_for(lambda: 'log_unavailable{sink="decisions"} 1.0' in api.ask("/metrics")[1])
        assert api.weights() == {decision(1).key: 1.0}
        assert api.ask("/v1/gpus")[1]["as_of"]["behind_s"] > 0
        assert api.ask("/readyz")[0] == api.ask("/healthz")[0] == 200
        own_broker.start()
        say(kafka, decision(1, 0.0, cause=3))
        wait_for(lambda: api.weights() == {decision(1).key: 0.0})
        wait_for(lambda: api.ask("/v1/gpus")[1]["as_of"]["behind_s"] == 0)
        assert api.end() == 0
        waits = [line for line in api.log if "waits" in line or "goes on" in line]
    assert [" ".join(line.split()[1:5]) for line in waits] == [
        "warning decisions waits: Kafka",
        "warning decisions goes on:",
    ]


# --- webhook ---------------------------------------------------------------------------------------------------


@contextmanager
def receiver(pause_s=0.0):
    """An HTTP server that takes everything, slowly; yields its URL, the keys it has seen, and what it may refuse."""
    keys, refusing = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(pause_s)
            if not refusing.is_set():
                keys.append(self.headers["Idempotency-Key"])
            self.send_response(503 if refusing.is_set() else 204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", keys, refusing
    server.shutdown()
    server.server_close()


def test_a_webhook_that_is_killed_again_and_again_posts_each_decision_in_order(kafka: Kafka) -> None:
    count = 120
    say(kafka, *(decision(cause % 7, cause=cause) for cause in range(count)))
    say(kafka, decision(1, cause=999), commit=False)
    expected = [f"0/cluster/0/{cause}/0" for cause in range(count)]
    with receiver(pause_s=0.01) as (url, keys, _):
        for quota in (20, 50, count):
            with sink(kafka, "webhook", "--url", url) as hook:
                wait_for(lambda quota=quota: len(set(keys)) >= quota)
                if quota == count:
                    assert hook.end() == 0
    assert list(dict.fromkeys(keys)) == expected
    assert len(keys) <= count + 3 * 16  # what came twice is what was posted and not yet noted


def test_a_receiver_that_refuses_is_waited_for_and_shown_as_unhealthy(kafka: Kafka) -> None:
    say(kafka, decision(1), decision(2, cause=1))
    with receiver() as (url, keys, refusing):
        refusing.set()
        with sink(kafka, "webhook", "--url", url, "--listen", "0") as hook:
            _, body = wait_for(lambda: (found := hook.ask("/healthz"))[0] == 503 and found)
            assert "503" in body["problems"][0]["why"]
            refusing.clear()
            wait_for(lambda: len(keys) == 2)
            wait_for(lambda: hook.ask("/healthz")[0] == 200)
            assert hook.end() == 0
            assert sum("waits:" in line for line in hook.log) == 1
    assert keys == ["0/cluster/0/0/0", "0/cluster/0/1/0"]


# --- the others ------------------------------------------------------------------------------------------------


def test_prometheus_reads_the_fleet_of_all_partitions(kafka: Kafka) -> None:
    for partition in (0, 1):
        node, gpu = f"n{partition}", Gpu(uuid=f"GPU-{partition}", bdf="0000:18:00")
        frame = frames.build(node=node, seq=1, gpus=[gpu], ticks=[1], columns={fields.GPU_TEMP: [40.0 + partition]})
        put(kafka, topics.OBSERVATIONS, frames.encode(frame), key=node, kind=frames.KIND, partition=partition)
    say(kafka, decision(1), decision(2))
    with sink(kafka, "metrics", "--listen", "0") as metrics:
        wait_for(lambda: metrics.ask("/readyz")[0] == 200)
        page = metrics.ask("/metrics")[1]
        for partition in (0, 1):
            labels = f'gpu_id="GPU-{partition}",hostname="n{partition}"'
            assert f"dcgm_gpu_temperature_celsius{{{labels}}} {40.0 + partition}" in page
        assert "gpu_vitals_decisions_total 2.0" in page
        assert 'gpu_vitals_sink_records_total{sink="metrics",topic="observations"} 2.0' in page
        assert metrics.end() == 0


def test_a_stream_goes_on_behind_what_it_has_printed(kafka: Kafka) -> None:
    say(kafka, decision(1), decision(2))
    with sink(kafka, "stream") as stream:
        wait_for(lambda: len(stream.lines) == 2)
        assert json.loads(stream.lines[0])["key"] == decision(1).key
        assert stream.end() == 0
    say(kafka, decision(3))
    with sink(kafka, "stream") as stream:
        wait_for(lambda: stream.lines)
        assert json.loads(stream.lines[0])["key"] == decision(3).key
    with sink(kafka, "stream", "--group", "another") as stream:
        wait_for(lambda: len(stream.lines) == 3)


def test_a_console_without_a_terminal_prints_all_that_stands_each_time(kafka: Kafka) -> None:
    say(kafka, decision(1), decision(2))
    for _ in range(2):
        with sink(kafka, "console") as console:
            wait_for(lambda console=console: len(console.lines) == 2)
            assert console.end(signal.SIGINT) == 0


def test_when_nobody_reads_the_lines_any_more_it_ends(kafka: Kafka) -> None:
    read, write = os.pipe()
    os.close(read)
    say(kafka, decision(1))
    command = [sys.executable, "-m", "pipeline", "sink", "stream", "--bootstrap", kafka.bootstrap]
    done = subprocess.run([*command, "--prefix", kafka.prefix], stdout=write, stderr=subprocess.PIPE, timeout=WAIT_S)
    os.close(write)
    assert done.returncode == 141, done.stderr.decode()


def test_on_a_terminal_the_console_is_a_live_view(kafka: Kafka) -> None:
    say(kafka, decision(1, 0.0, policy="default@1bd1f7d12458"))
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    command = [sys.executable, "-m", "pipeline", "sink", "console", "--bootstrap", kafka.bootstrap]
    process = subprocess.Popen(
        [*command, "--prefix", kafka.prefix], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + WAIT_S
    while b"1.00->" not in shown and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            shown += os.read(ours, 1 << 16)
    process.terminate()
    while True:
        try:
            shown += os.read(ours, 1 << 16)
        except OSError:  # the terminal is closed
            break
    process.communicate()
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode(errors="replace")
    assert f"Kafka at {kafka.bootstrap}" in text
    assert "policy default@1bd1f7" in text


def test_a_port_in_use_is_named(kafka: Kafka) -> None:
    with receiver() as (url, *_):
        port = url.rstrip("/").rpartition(":")[2]
        with sink(kafka, "decisions", "--listen", port) as api:
            assert api.process.wait(WAIT_S) == 2
            for reader in api.readers:
                reader.join()
            assert "".join(api.log) == (
                f"error: cannot listen on {port}: address already in use\n  help: name another port\n"
            )


@pytest.mark.parametrize("name", ["decisions", "webhook"])
def test_it_ends_when_told_while_the_broker_is_away(name, own_broker) -> None:
    kafka = Kafka(bootstrap=own_broker.bootstrap, partitions=1)
    asyncio.run(create(kafka))
    with sink(kafka, name, *(["--url", "http://127.0.0.1:1/"] if name == "webhook" else ["--listen", "0"])) as running:
        wait_for(lambda: running.log)
        time.sleep(1)
        own_broker.kill()
        wait_for(lambda: any("waits" in line for line in running.log))
        assert running.end(within_s=30.0) == 0, "".join(running.log)  # a client by itself waits for a broker for 40 s
