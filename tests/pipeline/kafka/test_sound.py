from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.kafka import sound
from pipeline.kafka.testing import decision, tombstone
from pipeline.recording_file import Recordings
from pipeline.replay import drive
from schemas import topics
from schemas.log import Record

ROOT = Path(__file__).resolve().parents[3]


def record(output, **changes):
    return Record(0, output.ts, output.key, output.kind, output.value)._replace(**changes)


def test_all_that_the_stages_say_is_sound():
    recordings = Recordings([ROOT / "docs/examples/fleet.jsonl"])
    said = []
    given = {topics.OBSERVATIONS: recordings.records("node")}
    asyncio.run(drive(given, lambda part, outputs: said.extend(outputs)))
    assert {output.topic for output in said} > {topics.DECISIONS, topics.SCORES, topics.RATES, topics.EVICTIONS}
    assert {sound.fault(output.topic, record(output)) for output in said} == {""}


@pytest.mark.parametrize("output", [decision(1), decision(1, 0.0), decision(1, uuid=""), tombstone(1, 2)])
def test_a_decision_is_sound(output):
    assert sound.fault(topics.DECISIONS, record(output)) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"value": b"{"}, "truncated"),
        ({"value": b"\xff\xfe"}, "JSON"),
        ({"value": b"[]"}, "Expected `object`, got `array`"),
        ({"value": b'{"ts":1}'}, "missing required field"),
        ({"value": b'{"v":2}'}, "schema version 2, expected 1"),
        ({"value": b'{"v":"one"}'}, "Expected `int`"),
        ({"key": "GPU-other"}, "key 'GPU-other', expected 'GPU-00000001'"),
    ],
)
def test_what_is_wrong_with_it_is_said(change, why):
    assert why in sound.fault(topics.DECISIONS, record(decision(1), **change))


def test_a_tombstone_is_one_only_where_the_newest_of_a_key_is_kept():
    empty = Record(0, 1, "n1", "xid", b"")
    assert sound.fault(topics.XIDS, empty)
    assert sound.fault(topics.INVENTORY, empty) == ""


def test_what_the_stages_judge_themselves_is_not_judged_here():
    for topic in (topics.OBSERVATIONS, topics.FLEET_EVENTS, topics.DEAD_LETTER):
        assert sound.fault(topic, Record(0, 1, "k", "any", b"{")) == ""
