"""Storms: what is printed without end costs little, is told in few records, and loses no count."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.kits import check_cuts
from processors.node import NodeTask
from processors.policy import from_document
from processors.testing import Observations, Said, gpu, judge, ms
from schemas import records, topics
from schemas.fields import GPU_TEMP
from schemas.log import Record
from schemas.records import KernelFault, encode
from schemas.states import Condition

BATCH = 5_000
NODE = gpu("n1")


def storm(count: int, a_second: int, start_s: float = 10.0, code: int = 95, sources: int = 1) -> Iterator[list[Record]]:
    """Lines of one GPU in batches, and a tick each second."""
    batch: list[Record] = []
    for number in range(count):
        ts = ms(start_s) + 1000 * number // a_second
        if 1000 * number // a_second % 1000 == 0 and 1000 * (number - 1) // a_second % 1000:
            batch.append(Record(0, ts, "", "tick", encode(records.Tick(ts=ts))))
        fault = KernelFault(
            ts=ts,
            node="n1",
            fault="xid",
            code=code,
            uuid=NODE.uuid,
            bdf=NODE.bdf,
            message=f"Uncontained: DRAM ({number:#x})",
            epoch=1,
            seq=number + 1,
            source=f"source-{number % sources}",
        )
        batch.append(Record(0, ts, "n1", "kernel", encode(fault)))
        if len(batch) >= BATCH:
            yield batch
            batch = []
    yield batch


def through(batches: Iterator[list[Record]], task: NodeTask) -> Said:
    outputs, offset = [], 0
    for batch in batches:
        outputs += task.step([record._replace(offset=offset + at) for at, record in enumerate(batch)])
        offset += len(batch)
    return Said(outputs)


def test_a_storm_is_one_incident_with_its_count_and_few_records() -> None:
    """50,000 lines in 100 s; the decision is made on the first."""
    task = NodeTask()
    end = [Record(0, ms(200), "", "tick", encode(records.Tick(ts=ms(200))))]

    def batches() -> Iterator[list[Record]]:
        yield from storm(50_000, 500)
        yield end

    said = through(batches(), task)
    (incident,) = said.latest_incidents.values()
    assert (incident.count, incident.root, incident.state.value) == (50_000, "xid_95", "open")
    assert len(said.incidents) <= 4
    assert sum(1 + xid.repeats for xid in said.xids) == 50_000
    assert len(said.xids) <= 4
    failed = [score for score in said.scores if score.condition is Condition.FAILED]
    assert failed[0].ts == ms(10.0)
    assert len(task.checkpoint().data) < 10_000


def test_memory_does_not_grow_with_the_storm() -> None:
    task = NodeTask()
    through(storm(2_000, 500), task)
    tracemalloc.start()
    sizes = []
    for begin in (100.0, 200.0):
        batches = [
            [record._replace(value=record.value.replace(b'"epoch":1', b'"epoch":%d' % begin)) for record in batch]
            for batch in storm(2_000, 500, start_s=begin)
        ]
        through(iter(batches), task)
        del batches
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] < sizes[0] + 50_000


def test_a_storm_of_a_switch_is_told_in_few_records_too() -> None:
    log = Observations()
    for number in range(500):
        log.fault("n1", 10 + number / 100, 20034, fault="sxid", severity="fatal", uuid="", bdf="0000:c3:00.0")
    said = judge(log.tick(70.0).tick(80.0))
    assert [(xid.repeat, xid.repeats) for xid in said.xids] == [(False, 0), (True, 498)]
    (incident,) = said.latest_incidents.values()
    assert (incident.count, incident.root) == (500, "sxid_20034")


def test_the_decision_on_another_gpu_comes_with_its_own_record() -> None:
    """10,000 lines a second of one GPU; another one fails in their midst."""
    task, offset = NodeTask(), 0
    for number, batch in enumerate(storm(20_000, 10_000)):
        if number == 2:
            fault = KernelFault(ts=batch[100].ts, node="n2", fault="xid", code=48, uuid="GPU-x", epoch=1, seq=1)
            batch.insert(100, Record(0, batch[100].ts, "n2", "kernel", encode(fault)))
        numbered = [record._replace(offset=offset + at) for at, record in enumerate(batch)]
        offset += len(batch)
        outputs = task.step(numbered)
        told = [out for out in outputs if out.key == "GPU-x" and out.topic in (topics.SCORES, topics.FLEET_EVENTS)]
        assert bool(told) is (number == 2)
        assert all(out.offset == numbered[100].offset and out.ts == numbered[100].ts for out in told)


def test_repeated_lines_ask_no_signal() -> None:
    """What a repeated line costs does not grow with the number of signals."""
    asked = 0
    task = NodeTask()
    event = task.judges.event

    def counting(*args: Any, **more: Any) -> None:
        nonlocal asked
        asked += 1
        event(*args, **more)

    task.faults._ask = counting
    through(storm(2_000, 1_000), task)
    assert asked == 1


def test_lines_of_two_sources_are_counted_by_one() -> None:
    task = NodeTask()
    said = through(storm(2_000, 1_000, sources=2), task)
    assert sum(1 + xid.repeats for xid in said.xids) <= 1_001
    assert len(said.latest_incidents) == 1


@pytest.mark.parametrize("gap_s", [6.0, 600.0, 80_000.0])
def test_a_last_xid_that_is_shown_again_is_no_new_event(gap_s: float) -> None:
    """A source that was started anew tells the last Xid again, with the time at which it came."""
    log = Observations().fault("n1", 1.0, 48, source="dcgm").tick(2.0).restore("n1", 3.0)
    for number in range(1, 4):
        at_s = 3.0 + number * gap_s / 3
        log.fault("n1", 1.0, 48, source="dcgm", append_s=at_s, epoch=number + 1).tick(at_s + 1)
    said = judge(log.tick(3.0 + gap_s + 5))
    assert len(said.xids) == 1
    assert said.latest[NODE.uuid].score == 1.0 if gap_s < 60 else True
    assert said.counts["double_reports"] == 3
    assert next(iter(said.latest_incidents.values())).count == 1


def test_lines_of_one_moment_are_as_many_as_they_are() -> None:
    log = Observations()
    for _ in range(10):
        log.fault("n1", 10.0, 63, source="kmsg")
    said = judge(log.tick(20.0).tick(80.0))
    assert sum(1 + xid.repeats for xid in said.xids) == 10


def test_a_new_process_within_the_coalescing_time_is_looked_at() -> None:
    """It may be answered otherwise."""
    policy = from_document("x", {"signals": {"xid": {"demote": [{"process": "toy"}]}}})
    log = Observations().policy(0.0, policy).frame("n1", 1.0, {GPU_TEMP: 50}).tick(6.0)
    log.fault("n1", 7.0, 31, process="toy").fault("n1", 8.0, 31, process="toy")
    assert judge(log).latest[NODE.uuid].score == 1.0
    assert judge(log.fault("n1", 9.0, 31, process="work")).latest[NODE.uuid].score == 0.0
    assert judge(log.fault("n1", 10.0, 31, process="toy")).latest[NODE.uuid].score == 0.0


def test_cuts_and_checkpoints_show_nowhere() -> None:
    log = Observations()
    for number in range(40):
        log.frame("n1", 1.0 + number, {GPU_TEMP: [50, 50]})
        log.fault("n1", 1.2 + number, 94, source="kmsg").fault("n1", 1.3 + number, 94, source="dcgm")
        log.fault("n1", 1.4 + number, 20009, fault="sxid", severity="", uuid="", bdf="0000:c3:00.0")
    check_cuts(NodeTask, log.ticks(60.0, 130.0, 10.0).records, rounds=3)
