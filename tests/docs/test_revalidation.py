"""docs/revalidation.md keeps its word: its example runs, against a real Kafka, and the node stage takes its answers."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from pipeline.kafka import reading, rechecking, wire
from pipeline.kafka.settings import Kafka
from pipeline.kafka.testing import publish
from processors.node import NodeTask
from schemas import records, topics
from schemas.log import Output
from schemas.partitions import partition_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "revalidation.md").read_text("utf-8")
T = 1_767_603_600_000
GPU = "GPU-1"


@pytest.fixture
def store(tmp_path):
    """Of GPU-1 two right outputs and a wrong one in the window, and wrong ones before and elsewhere."""
    path = tmp_path / "requests.sqlite"
    rows = [
        (GPU, T - 1, "abc", "?"),
        (GPU, T, "abc", "cba"),
        (GPU, T + 500, "de", "ed"),
        (GPU, T + 1000, "fg", "f?"),
        (GPU, T + 3000, "hi", "h?"),
        ("GPU-2", T + 500, "abc", "?"),
    ]
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE requests (gpu TEXT, time_ms INTEGER, prompt TEXT, output TEXT)")
        made.executemany("INSERT INTO requests VALUES (?, ?, ?, ?)", rows)
    return path


def asked(end=T + 1000, detected=T + 900, uuid=GPU, cause=1):
    said = records.Revalidation(
        ts=end,
        cluster="c1",
        node="n1",
        uuid=uuid,
        bdf="0000:18:00",
        start=T,
        end=end,
        detected=detected,
        since="admission",
        confidence="confirmed",
    )
    return Output(topics.REVALIDATIONS, uuid, "revalidation", records.encode(said), end, cause, 0)


def ask(kafka, *requests):
    asyncio.run(publish(kafka, requests, stage="node"))


@contextmanager
def example(kafka, store):
    """Reads the lines that it prints."""
    command = [sys.executable, str(DOCS / "examples/revalidator.py"), str(store), kafka.bootstrap, kafka.prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield lambda: json.loads(process.stdout.readline())
        finally:
            process.kill()


async def observed(kafka):
    """All that stands on `observations`, by partition."""
    found = {}
    places = (await reading.partitions(kafka, topics.OBSERVATIONS))[topics.OBSERVATIONS]
    async with reading.opened(kafka) as reader:
        async for place, messages in reader.read(await reader.kept(places)):
            found.setdefault(place.partition, []).extend(wire.record(message) for message in messages)
    return found


def judged(kafka):
    """What the node stage makes of it, put on its topics."""
    outputs = []
    for partition, batch in asyncio.run(observed(kafka)).items():
        outputs += NodeTask(partition, partitions=kafka.partitions).step(batch)
    asyncio.run(publish(kafka, outputs, stage="node", partition=9))
    return outputs


def states(kafka):
    found, unreadable = asyncio.run(rechecking.rechecks(kafka))
    assert unreadable == 0
    return [(each.asked.end, each.state) for each in found]


def test_the_example_checks_the_outputs_of_that_gpu_and_time_and_the_stages_hear_its_answer(kafka: Kafka, store):
    ask(kafka, asked(), asked(uuid="GPU-3", cause=2))
    with example(kafka, store) as line:
        first, second = line(), line()
    assert (first["result"], first["checked"], first["wrong"]) == ("corrupt", 3, 1)
    assert (second["uuid"], second["result"]) == ("GPU-3", "unknown")
    told = asyncio.run(observed(kafka))
    assert list(told) == [partition_of("n1", kafka.partitions)]
    assert {(record.key, record.kind) for record in told[partition_of("n1", kafka.partitions)]} == {
        ("n1", "revalidated")
    }
    outputs = judged(kafka)
    assert {output.topic for output in outputs} == {topics.REVALIDATED, topics.FLEET_EVENTS}
    answers = [output for output in outputs if output.topic == topics.REVALIDATED]
    assert [(output.key, output.kind) for output in answers] == [(GPU, "revalidated"), ("GPU-3", "revalidated")]
    assert states(kafka) == [(T + 1000, "corrupt"), (T + 1000, "unknown")]


def test_who_starts_anew_answers_nothing_twice_and_later_evidence_once_more(kafka: Kafka, store):
    ask(kafka, asked(end=T + 950), asked(cause=2))  # one episode, of which the newest record counts
    with example(kafka, store) as line:
        assert line()["end"] == T + 1000
    judged(kafka)
    with example(kafka, store) as line:
        ask(kafka, asked(uuid="GPU-2", cause=3))
        assert line()["uuid"] == "GPU-2"
        ask(kafka, asked(end=T + 3000, cause=4))
        assert line() | {"ts": 0, "author": ""} == {
            "ts": 0,
            "cluster": "c1",
            "node": "n1",
            "uuid": GPU,
            "bdf": "0000:18:00",
            "detected": T + 900,
            "end": T + 3000,
            "result": "corrupt",
            "checked": 4,
            "wrong": 2,
            "author": "",
        }


def test_the_answer_that_the_page_shows_is_one():
    shown = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]
    msgspec.json.decode(shown, type=records.Revalidated)
    assert json.loads(shown).keys() <= set(records.Revalidated.__struct_fields__)
