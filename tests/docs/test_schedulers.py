"""docs/schedulers.md keeps its word: its code and commands run, against a real Kafka."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.kafka.settings import Kafka
from pipeline.kafka.testing import decision, publish, tombstone
from scripts.kafka_broker import tool
from sinks.shown import Shown

PAGE = (Path(__file__).resolve().parents[2] / "docs/schedulers.md").read_text("utf-8")


def example(name):
    return re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)[1]


def command(program):
    """The words of the command that the page shows, continuation lines joined."""
    return shlex.split(re.search(rf"^\$ ({program}(?:.*\\\n)*.*)$", PAGE, re.MULTILINE)[1].replace("\\\n", " "))


def fill(kafka):
    """Decisions, one of them again and out of order, a tombstone, and an aborted transaction."""
    said = [decision(1, cause=1), decision(2, cause=2), decision(1, 0.3, cause=5)]
    asyncio.run(publish(kafka, said))
    asyncio.run(publish(kafka, [decision(2, 0.1, cause=9)], commit=False))
    asyncio.run(publish(kafka, [decision(1, cause=1), tombstone(2, cause=6), decision(3, 0.0, cause=7)]))


@pytest.mark.parametrize(
    ("origin", "known", "newer"),
    [
        ("0/cluster/0/17/0", None, True),
        ("0/cluster/0/17/0", "0/cluster/0/9/4", True),
        ("0/cluster/0/17/0", "0/cluster/0/17/0", False),
        ("0/cluster/0/9/4", "0/cluster/0/17/0", False),
        ("1/cluster/0/0/0", "0/cluster/0/17/0", True),
    ],
)
def test_the_rule_for_what_is_newer(origin, known, newer):
    names = {}
    exec(example("newer"), names)
    assert names["is_newer"](origin, known) is newer


def test_the_decision_that_is_shown_has_all_fields_in_order():
    shown = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    assert list(shown) == list(Shown.__struct_fields__)
    msgspec.convert(shown, Shown)


def test_the_reader_in_python_has_the_newest_weights(kafka: Kafka):
    fill(kafka)
    program = example("newer") + example("reader")
    program = program.replace("127.0.0.1:9092", kafka.bootstrap).replace("gpu-vitals.", kafka.prefix)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as reader:
        tables = [json.loads(reader.stdout.readline()) for _ in range(5)]
        reader.kill()
    one, two, three = (decision(gpu).key for gpu in (1, 2, 3))
    assert tables == [{one: 1.0}, {one: 1.0, two: 1.0}, {one: 0.3, two: 1.0}, {one: 0.3}, {one: 0.3, three: 0.0}]


def test_the_console_consumer_of_kafka_shows_what_the_page_shows(kafka: Kafka):
    fill(kafka)
    _, *words = command("kafka-console-consumer.sh")
    words = [word.replace("127.0.0.1:9092", kafka.bootstrap).replace("gpu-vitals.", kafka.prefix) for word in words]
    printed = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", *words, "--max-messages", "6").splitlines()
    lines = [line.split("\t") for line in printed]
    assert [(headers, key) for headers, key, _ in lines] == [
        ("kind:decision,origin:0/cluster/0/1/0", decision(1).key),
        ("kind:decision,origin:0/cluster/0/2/0", decision(2).key),
        ("kind:decision,origin:0/cluster/0/5/0", decision(1).key),
        ("kind:decision,origin:0/cluster/0/1/0", decision(1).key),
        ("kind:tombstone,origin:0/cluster/0/6/0", decision(2).key),
        ("kind:decision,origin:0/cluster/0/7/0", decision(3).key),
    ]
    assert lines[4][2] == "null"
    assert json.loads(lines[5][2])["weight"] == 0.0
