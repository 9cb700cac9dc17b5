"""Server-sent events are the same in whatever pieces they come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks import event_lines
from sinks.event_lines import EventLines, StreamEvent

SENT = (
    b'retry: 1000\n\nid: 0/1\nevent: snapshot\ndata: {"a":1}\n\n: behind_s 0.5\n\n'
    b"data: one\r\ndata:two\r\n\r\nevent: empty\n\nid: 0/2\nevent: gone\ndata: x\n\nevent: cut\ndata: off\n"
)
EVENTS = [
    StreamEvent("snapshot", "0/1", b'{"a":1}'),
    StreamEvent("", "0/1", b"behind_s 0.5"),
    StreamEvent("message", "0/1", b"one\ntwo"),
    StreamEvent("gone", "0/2", b"x"),
]


@given(st.lists(st.integers(0, len(SENT)), max_size=20))
def test_every_cut(cuts):
    lines, places = EventLines(), [0, *sorted(cuts), len(SENT)]
    found = [event for first, last in itertools.pairwise(places) for event in lines.feed(SENT[first:last])]
    assert found == EVENTS


def test_a_line_without_end_is_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(event_lines, "EVENT_BYTES_MAX", 100)
    lines = EventLines()
    list(lines.feed(b"data: " + b"x" * 90))
    with pytest.raises(ValueError, match="more than 100 bytes"):
        list(lines.feed(b"x" * 90))
