from __future__ import annotations

import pytest

from schemas import fields, frames
from schemas.log import Record
from schemas.records import Gpu
from sinks.readings import STALE_MS, Readings

A, B = Gpu(uuid="GPU-a", bdf="0000:18:00"), Gpu(uuid="GPU-b", bdf="0000:2a:00")
NAN = frames.NAN


def frame(seq, columns, *, gpus=(A, B), ticks=(1000, 2000), epoch=1, ts=None):
    built = frames.build(node="n1", epoch=epoch, seq=seq, gpus=gpus, ticks=ticks, columns=columns)
    return Record(seq, seq * 1000 if ts is None else ts, "n1", frames.KIND, frames.encode(built))


def values(readings, now_ms=10_000):
    return {reading.key: reading.values for reading in readings.fresh(now_ms)}


def test_the_last_tick_of_gauges_and_counters_is_taken():
    readings = Readings()
    columns = {fields.GPU_TEMP: [50.0, 60.0, 51.0, 61.0], fields.ECC_SBE_VOLATILE: [1.0, 2.0, 1.0, 5.0]}
    readings.take(frame(1, columns))
    assert values(readings) == {
        "GPU-a": {fields.GPU_TEMP: 51.0, fields.ECC_SBE_VOLATILE: 1.0},
        "GPU-b": {fields.GPU_TEMP: 61.0, fields.ECC_SBE_VOLATILE: 5.0},
    }


def test_of_several_changes_within_a_frame_the_last_one_stays():
    readings = Readings()
    readings.take(frame(1, {fields.ECC_DBE_VOLATILE: [0.0, 1.0, 2.0]}, gpus=[A], ticks=[1, 2, 3]))
    assert values(readings) == {"GPU-a": {fields.ECC_DBE_VOLATILE: 2.0}}


def test_a_blank_takes_the_value_away_and_a_missing_field_does_not():
    readings = Readings()
    readings.take(frame(1, {fields.GPU_TEMP: [50.0, 60.0], fields.RETIRED_SBE: [3.0, 4.0]}, ticks=[1]))
    readings.take(frame(2, {fields.GPU_TEMP: [NAN, 61.0]}, ticks=[2]))
    assert values(readings) == {
        "GPU-a": {fields.RETIRED_SBE: 3.0},
        "GPU-b": {fields.GPU_TEMP: 61.0, fields.RETIRED_SBE: 4.0},
    }


def test_counters_that_stay_blank_stay_away():
    readings = Readings()
    for seq in (1, 2):
        readings.take(frame(seq, {fields.ECC_SBE_VOLATILE: [NAN, 1.0]}, ticks=[seq]))
    assert values(readings) == {"GPU-a": {}, "GPU-b": {fields.ECC_SBE_VOLATILE: 1.0}}


@pytest.mark.parametrize("sentinel", [2147483634, 2.0**47 + 1, 2.0**63, float("inf")])
def test_a_sentinel_that_a_source_lets_through_is_blank(sentinel):
    readings = Readings()
    readings.take(frame(1, {fields.GPU_TEMP: [sentinel, 60.0], fields.ECC_DBE_VOLATILE: [1.0, sentinel]}, ticks=[1]))
    assert values(readings) == {"GPU-a": {fields.ECC_DBE_VOLATILE: 1.0}, "GPU-b": {fields.GPU_TEMP: 60.0}}


def test_a_double_and_a_reordered_frame_change_nothing():
    readings = Readings()
    for seq, temp in ((2, 52.0), (1, 51.0), (2, 99.0)):
        readings.take(frame(seq, {fields.GPU_TEMP: [temp]}, gpus=[A], ticks=[seq]))
    assert values(readings) == {"GPU-a": {fields.GPU_TEMP: 52.0}}


def test_a_restarted_agent_counts_anew():
    readings = Readings()
    readings.take(frame(9, {fields.GPU_TEMP: [52.0]}, gpus=[A], ticks=[1]))
    readings.take(frame(1, {fields.GPU_TEMP: [53.0]}, gpus=[A], ticks=[2], epoch=2))
    assert values(readings) == {"GPU-a": {fields.GPU_TEMP: 53.0}}


def test_a_value_is_shown_for_a_minute_and_not_longer():
    readings = Readings()
    readings.take(frame(1, {fields.GPU_TEMP: [50.0]}, gpus=[A], ticks=[1], ts=0))
    assert values(readings, STALE_MS) == {"GPU-a": {fields.GPU_TEMP: 50.0}}
    assert values(readings, STALE_MS + 1) == {}


def test_a_gpu_that_vanishes_from_the_frames_grows_stale_alone():
    readings = Readings()
    readings.take(frame(1, {fields.GPU_TEMP: [50.0, 60.0]}, ticks=[1], ts=0))
    readings.take(frame(2, {fields.GPU_TEMP: [51.0]}, gpus=[A], ticks=[2], ts=STALE_MS + 1))
    assert values(readings, STALE_MS + 1) == {"GPU-a": {fields.GPU_TEMP: 51.0}}


def test_a_gpu_known_by_its_place_becomes_the_one_with_the_uuid():
    readings = Readings()
    readings.take(frame(1, {fields.GPU_TEMP: [50.0]}, gpus=[Gpu(bdf=A.bdf)], ticks=[1]))
    assert values(readings) == {"n1/0000:18:00": {fields.GPU_TEMP: 50.0}}
    readings.take(frame(2, {fields.GPU_TEMP: [51.0]}, gpus=[A], ticks=[2]))
    assert values(readings) == {"GPU-a": {fields.GPU_TEMP: 51.0}}
