"""`tail` shows any topic as lines of JSON, and only what is asked for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.clock import wall_ms
from pipeline.kafka.ingress import KafkaIngress
from pipeline.kafka.log import KafkaLog
from pipeline.kafka.settings import Kafka
from pipeline.log import Entry
from schemas import frames, records
from schemas.log import Checkpoint, Output, Part
from schemas.records import Gpu

NODE = Part("node", "observations", 1)
UUID = "GPU-1"
T0 = wall_ms() - 60_000
Tail = Callable[..., tuple[int, list[dict[str, Any]], str]]


def frame(node: str, seq: int) -> Entry:
    gpus = [Gpu(uuid=f"GPU-{node}", bdf="0000:01:00"), Gpu(uuid=f"GPU-{node}b", bdf="0000:02:00")]
    value = frames.encode(frames.build(node=node, seq=seq, gpus=gpus, ticks=[1_000], columns={150: [50.0, None]}))
    return Entry(node, "telemetry", value)


@pytest.fixture
def told(kafka: Kafka, settled: Callable[[Kafka, str], Awaitable[None]]) -> Kafka:
    """Some observations, and three records that a stage has derived, one with a state."""
    fault = records.encode(records.KernelFault(ts=1, node="n2", fault="xid", code=79, bdf="0000:02:00"))
    odd = [Entry("n1", "rumour", b"\x00\xff", None, 0), Entry("", "tick", b'{\n"ts":1}', None, 0)]
    said = [frame("n1", 1), frame("n2", 1), Entry("n2", "kernel", fault), *odd, frame("n1", 2)]

    async def write() -> None:
        ingress, log = KafkaIngress(kafka), KafkaLog(kafka)
        for entry in said:
            await ingress.append("observations", [entry])
        await log.restore(NODE)
        score = records.encode(
            records.Score(ts=1, cluster="c", node="n1", uuid=UUID, score=1.0, held=1.0, condition="healthy")
        )
        outputs = [
            Output("scores", UUID, "score", score, T0, 0, 0),
            Output("scores", "n1/0000:01:00", "tombstone", b"", T0 + 1_000, 3, 1),
        ]
        await log.commit(NODE, outputs, 4, Checkpoint(4, b"state" * 10))
        await ingress.close()
        await log.close()
        for topic in ("scores", "checkpoints"):
            await settled(kafka, topic)

    asyncio.run(write())
    return kafka


@pytest.fixture
def tail(told: Kafka, capfdbinary: pytest.CaptureFixture[bytes]) -> Tail:
    def run(*args: str) -> tuple[int, list[dict[str, Any]], str]:
        with pytest.raises(SystemExit) as exit:
            main(["tail", "--bootstrap", told.bootstrap, "--prefix", told.prefix, *args])
        out, err = capfdbinary.readouterr()
        return int(exit.value.code or 0), [json.loads(line) for line in out.splitlines()], err.decode()

    return run


def test_observations_are_told_whatever_they_are(tail: Tail) -> None:
    code, lines, err = tail("observations")
    assert (code, err) == (0, "")
    assert len(lines) == 6
    assert list(lines[0]) == ["topic", "partition", "offset", "ts", "key", "kind", "origin", "value"]
    by = {(line["key"], line["kind"]): line for line in lines}
    telemetry = by["n2", "telemetry"]["value"]
    assert telemetry["gpus"][0] == {"uuid": "GPU-n2", "bdf": "0000:01:00"}
    assert telemetry["fields"] == {"150": [50, None]}
    assert by["n2", "kernel"]["value"]["code"] == 79
    assert by["", "tick"]["value"] == {"ts": 1}
    assert by["n1", "rumour"]["value"]["raw"] == "AP8="
    assert "JSON is malformed" in by["n1", "rumour"]["value"]["why"]
    for partition in (0, 1):
        offsets = [line["offset"] for line in lines if line["partition"] == partition]
        assert offsets == list(range(len(offsets)))


def test_derived_records_name_their_origin_and_removed_keys_are_null(tail: Tail, told: Kafka) -> None:
    _, lines, _ = tail(told.topic("scores"))
    assert [(each["topic"], each["key"], each["kind"], each["ts"], each["origin"]) for each in lines] == [
        ("scores", UUID, "score", T0, "0/node/1/0/0"),
        ("scores", "n1/0000:01:00", "tombstone", T0 + 1_000, "0/node/1/3/1"),
    ]
    assert (lines[0]["value"]["uuid"], lines[1]["value"]) == (UUID, None)


def test_states_are_told_without_what_is_in_them(tail: Tail) -> None:
    _, (line,), _ = tail("checkpoints")
    assert (line["key"], line["kind"], line["value"]["bytes"]) == ("0/node/1/0/0", "checkpoint", 50)
    assert line["value"]["next_offset"] == "4"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--node", "n2"], [("n2", "telemetry"), ("n2", "kernel")]),
        (["--gpu", "GPU-n1b"], [("n1", "telemetry"), ("n1", "telemetry")]),
        (["--gpu", "n2/0000:02:00"], [("n2", "telemetry"), ("n2", "kernel")]),
        (["--gpu", "0000:01:00", "--node", "n2"], [("n2", "telemetry")]),
        (["--node", "n3"], []),
        (["--to", "1h"], []),
        (["--from", "2100-01-01"], []),
    ],
)
def test_only_what_is_asked_for(tail: Tail, args: list[str], expected: list[tuple[str, str]]) -> None:
    _, lines, _ = tail("observations", *args)
    assert sorted((line["key"], line["kind"]) for line in lines) == sorted(expected)


def test_records_have_their_own_times(tail: Tail) -> None:
    assert [line["ts"] for line in tail("scores", "--from", str(T0 + 1_000))[1]] == [T0 + 1_000]
    assert [line["ts"] for line in tail("scores", "--to", str(T0 + 1_000))[1]] == [T0]


def test_counts_limit_from_either_end(tail: Tail) -> None:
    assert len(tail("observations", "--limit", "4")[1]) == 4
    newest = tail("observations", "--last", "2")[1]
    assert [(line["key"], line["kind"]) for line in newest] == [("", "tick"), ("n1", "telemetry")]
    assert [line["value"]["seq"] for line in tail("observations", "--last", "1", "--node", "n1")[1]] == [2]
    assert len(tail("observations", "--last", "50")[1]) == 6


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["decision"], "error: no such topic: decision\n  help: a topic with a similar name exists: `decisions`\n"),
        (["qqq"], "help: topics: observations, xids"),
        (["scores", "--follow", "--to", "1h"], "--follow and --to exclude each other"),
        (["scores", "--from", "soon"], "--from: not a time: soon"),
        (["scores", "--prefix", "none."], "has no topic none.scores\n  help: `gpu-vitals topics create` makes them"),
    ],
)
def test_usage_problems(tail: Tail, args: list[str], message: str) -> None:
    code, lines, err = tail(*args)
    assert (code, lines) == (2, [])
    assert message in err


def test_what_is_not_committed_is_shown_on_demand(tail: Tail, told: Kafka) -> None:
    from aiokafka import AIOKafkaProducer

    async def abort() -> None:
        async with AIOKafkaProducer(**told.client(), transactional_id=f"{told.prefix}t") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(told.topic("scores"), b"{}", b"never")
            await producer.abort_transaction()

    asyncio.run(abort())
    assert len(tail("scores")[1]) == 2
    assert [line["key"] for line in tail("scores", "--uncommitted")[1]][-1] == "never"


def command(kafka: Kafka, *args: str) -> list[str]:
    options = ["--bootstrap", kafka.bootstrap, "--prefix", kafka.prefix]
    return [sys.executable, "-m", "pipeline", "tail", *options, *args]


def test_following_goes_on_until_it_is_interrupted(told: Kafka) -> None:
    process = subprocess.Popen(
        command(told, "observations", "--follow", "--last", "1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    first = json.loads(process.stdout.readline())
    assert first["value"]["seq"] == 2

    async def more() -> None:
        ingress = KafkaIngress(told)
        await ingress.append("observations", [frame("n1", 3)])
        await ingress.close()

    asyncio.run(more())
    assert json.loads(process.stdout.readline())["value"]["seq"] == 3
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, b"")


def test_reader_that_goes_away_ends_it_quietly(told: Kafka) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(command(told, "observations", "--follow"), stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    with os.fdopen(read) as lines:
        lines.readline()
    deadline = time.monotonic() + 60

    async def more() -> None:
        ingress = KafkaIngress(told)
        while process.poll() is None and time.monotonic() < deadline:
            await ingress.append("observations", [frame("n1", 9)])
            await asyncio.sleep(0.1)
        await ingress.close()

    asyncio.run(more())
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")
