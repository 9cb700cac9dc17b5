from __future__ import annotations

import asyncio
import io
import json
import os

import pytest

from schemas import records, topics
from schemas.log import Origin, Record
from schemas.records import Reason, encode
from schemas.states import Action, CaseState, Condition
from sinks.kit import Probe, check_sink
from sinks.stream import DecisionStream, render


def decision(offset, **changes):
    given = {
        "ts": 1_767_225_600_000,
        "cluster": "c1",
        "node": "n1",
        "uuid": "GPU-a",
        "bdf": "0000:18:00",
        "weight": 0.0,
        "score": 0.3,
        "condition": Condition.FAILED,
        "state": CaseState.DRAINING,
        "action": Action.EVICT,
        "cause": "Xid 79: fell off the bus",
        "reasons": [
            Reason(signal="xid", level="evict", cap=0.0, text="Xid 79: fell off the bus"),
            Reason(signal="fans", level="warning", cap=0.7),
        ],
        "policy": "default@1",
        "incident": "n1/0000:18:00/bus/1767225600000",
        **changes,
    }
    return Record(offset, 1, "GPU-a", "decision", encode(records.Decision(**given)))


def test_a_line_says_all_that_a_program_needs():
    assert json.loads(render(decision(41)._replace(origin=Origin("cluster", 0, 7, 1)))) == {
        "offset": 41,
        "origin": "0/cluster/0/7/1",
        "ts": 1_767_225_600_000,
        "key": "GPU-a",
        "cluster": "c1",
        "node": "n1",
        "uuid": "GPU-a",
        "bdf": "0000:18:00",
        "weight": 0.0,
        "score": 0.3,
        "state": "draining",
        "action": "evict",
        "condition": "failed",
        "held_by": "",
        "cause": "Xid 79: fell off the bus",
        "reasons": ["Xid 79: fell off the bus", "fans: warning"],
        "policy": "default@1",
        "incident": "n1/0000:18:00/bus/1767225600000",
    }


def test_a_tombstone_is_no_decision():
    out = io.BytesIO()
    tombstone = Record(2, 1, "GPU-a", "tombstone", b"")
    asyncio.run(DecisionStream(out).apply(topics.DECISIONS, [decision(1), tombstone, decision(3)]))
    assert [json.loads(line)["offset"] for line in out.getvalue().splitlines()] == [1, 3]


def test_a_reader_that_went_away_is_reported_as_that():
    read, write = os.pipe()
    os.close(read)
    out = os.fdopen(write, "wb", buffering=0)
    with pytest.raises(BrokenPipeError):
        asyncio.run(DecisionStream(out).apply(topics.DECISIONS, [decision(1)]))
    out.close()


def test_contract():
    def make():
        out = io.BytesIO()
        return Probe(DecisionStream(out), out.getvalue)

    check_sink(make, topics.DECISIONS, [decision(offset, weight=offset / 10) for offset in range(4)])
