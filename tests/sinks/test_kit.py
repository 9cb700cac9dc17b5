"""The kit finds each way in which a sink can break its contract."""

from __future__ import annotations

import pytest

from schemas.log import Record
from schemas.topics import OBSERVATIONS
from sinks.kit import Probe, check_sink
from sinks.sink import Applied, Sink

RECORDS = [Record(offset, 0, "k", "kind", b"%d" % offset) for offset in range(3)]


class Sound(Sink):
    name = "sound"
    topics = ("t",)

    def __init__(self):
        self.offsets = []

    async def apply(self, topic, records, partition=0):
        self.offsets += [record.offset for record in records if record.offset not in self.offsets]


class CountsDoubles(Sound):
    async def apply(self, topic, records, partition=0):
        self.offsets += [record.offset for record in records]


class ForgetsAtACut(Sound):
    async def apply(self, topic, records, partition=0):
        self.offsets = [record.offset for record in records]


class ClosesOnce(Sound):
    closed = False

    async def close(self):
        if self.closed:
            raise RuntimeError("closed twice")
        self.closed = True


class Blind(Sound):
    async def apply(self, topic, records, partition=0):
        pass


class MixesPartitions(Sink):
    """Takes a record of one partition for a double of another's."""

    name = "mixes"
    topics = (OBSERVATIONS,)

    def __init__(self):
        self.offsets = []
        self.applied = Applied()

    async def apply(self, topic, records, partition=0):
        self.offsets += [record.value for record in self.applied.fresh(topic, 0, records)]
        self.applied.add(topic, 0, records)


class KnowsPartitions(MixesPartitions):
    async def apply(self, topic, records, partition=0):
        self.offsets += [record.value for record in self.applied.fresh(topic, partition, records)]
        self.applied.add(topic, partition, records)


def probe(kind):
    def make():
        sink = kind()
        return Probe(sink, lambda: sink.offsets)

    return make


def test_a_sound_sink_passes():
    check_sink(probe(Sound), "t", RECORDS)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (CountsDoubles, AssertionError, "applied twice"),
        (ForgetsAtACut, AssertionError, "one by one"),
        (ClosesOnce, RuntimeError, "closed twice"),
        (Blind, AssertionError, "nothing is checked"),
    ],
)
def test_a_broken_one_does_not(kind, error, words):
    with pytest.raises(error, match=words):
        check_sink(probe(kind), "t", RECORDS)


def test_a_topic_that_the_sink_does_not_read_is_refused():
    with pytest.raises(AssertionError, match="does not read"):
        check_sink(probe(Sound), "other", RECORDS)


def test_offsets_are_told_apart_by_partition_where_a_topic_has_several():
    check_sink(probe(KnowsPartitions), OBSERVATIONS, RECORDS)
    with pytest.raises(AssertionError, match="another partition"):
        check_sink(probe(MixesPartitions), OBSERVATIONS, RECORDS)
