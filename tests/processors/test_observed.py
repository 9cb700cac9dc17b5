"""Records that can be decoded and still must not be believed: another version, another node's key, no place here."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.kits import check_cuts
from processors.node import NodeTask
from processors.testing import Observations, judge
from schemas import records
from schemas.fields import GPU_TEMP
from schemas.log import Record
from schemas.partitions import partition_of

PARTITIONS = 4
HOME = partition_of("n1", PARTITIONS)


def log() -> list[Record]:
    """A frame, a fault and a frame of n1."""
    return Observations().frame("n1", 1.0, {GPU_TEMP: 50}).fault("n1", 2.0, 31).frame("n1", 3.0, {GPU_TEMP: 50}).records


def of_version(record: Record, version: int) -> Record:
    codec = msgspec.msgpack if record.kind == "telemetry" else msgspec.json
    return record._replace(value=codec.encode(codec.decode(record.value) | {"v": version}))


@pytest.mark.parametrize("at", [0, 1], ids=["telemetry", "a kernel fault"])
def test_a_newer_version_is_said_to_be_that_whatever_it_holds(at: int) -> None:
    given = log()
    given[at] = of_version(given[at], 2)
    said = judge(given)
    assert [letter.why for letter in said.dead_letters] == ["schema version 2, expected 1"]

    renamed = msgspec.json.encode({"v": 3, "something": "else"})
    (letter,) = judge(Observations().add(1.0, "n1", "kernel", renamed)).dead_letters
    assert letter.why == "schema version 3, expected 1"


@pytest.mark.parametrize("at", [0, 1], ids=["telemetry", "a kernel fault"])
def test_a_record_under_another_nodes_key_is_refused(at: int) -> None:
    given = log()
    given[at] = given[at]._replace(key="n2")
    (letter,) = judge(given).dead_letters
    assert letter.why == "key 'n2' is not the node that the record is of, 'n1'"
    assert letter.source == f"observations/0/{at}"


def test_a_node_of_another_partition_is_refused_and_one_that_belongs_here_is_not() -> None:
    elsewhere = (HOME + 1) % PARTITIONS
    said = judge(log(), NodeTask(elsewhere, partitions=PARTITIONS))
    assert {letter.why for letter in said.dead_letters} == {
        f"node 'n1' belongs to partition {HOME} of {PARTITIONS}, not {elsewhere}"
    }
    assert len(said.dead_letters) == 3
    assert not said.scores
    assert not judge(log(), NodeTask(HOME, partitions=PARTITIONS)).dead_letters
    assert not judge(log(), NodeTask(elsewhere)).dead_letters


def test_what_speaks_of_no_node_belongs_everywhere() -> None:
    tick = Observations().tick(1.0).records
    assert not judge(tick, NodeTask(3, partitions=PARTITIONS)).dead_letters


def test_of_a_large_record_the_beginning_is_kept_and_its_size() -> None:
    (letter,) = judge(Observations().add(1.0, "n1", "telemetry", b"x" * (2 << 20))).dead_letters
    assert (len(letter.data), letter.size) == (512 << 10, 2 << 20)
    (small,) = judge(Observations().add(1.0, "n1", "telemetry", b"x")).dead_letters
    assert (small.data, small.size) == (b"x", 0)
    assert len(records.encode(letter)) < 1 << 20


def test_refusing_does_not_depend_on_batches() -> None:
    given = log()
    given[1] = given[1]._replace(key="n2")
    check_cuts(lambda: NodeTask(HOME, partitions=PARTITIONS), given)


def test_what_became_of_a_command_is_understood_and_changes_no_judgement() -> None:
    given = Observations().frame("n1", 1.0, {GPU_TEMP: 50})
    without = judge(list(given.records))
    answer = records.CommandResult(ts=2_000, node="n1", id="c1", action="reset", state="refused")
    said = judge(given.add(2.0, "n1", "command-result", records.encode(answer)))
    assert not said.dead_letters
    assert said.scores == without.scores
