from __future__ import annotations

import struct
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from producers.sampling import TICKS_MAX, URGENT, Sampler
from producers.source import Observed
from schemas import frames
from schemas.fields import (
    ECC_DBE_VOLATILE,
    FIELDS,
    GPU_TEMP,
    MAX_SM_CLOCK,
    PCIE_REPLAY_COUNTER,
    POWER,
    POWER_VIOLATION,
    ROW_REMAP_PENDING,
    THERMAL_VIOLATION,
    Kind,
)
from schemas.records import Gpu

A, B, C = (Gpu(uuid=f"GPU-{name}", bdf=f"0000:{name}{name}:00") for name in "abc")
T0 = 1_760_000_000_000

Values = dict[int, list[float | None]]


class Sample(NamedTuple):
    ts: int
    gpus: list[Gpu]
    values: Values


def decoded(observed: list[Observed]) -> list[frames.TelemetryFrame]:
    assert all((one.node, one.kind, one.ts) == ("n", "telemetry", None) for one in observed)
    return [frames.decode(one.value) for one in observed]


def samples_of(frame: frames.TelemetryFrame) -> list[Sample]:
    """The frame taken apart again."""
    width, columns = len(frame.gpus), dict(frame.columns())
    return [
        Sample(
            ts,
            frame.gpus,
            {
                field: [None if value != value else value for value in column[at * width : (at + 1) * width]]
                for field, column in columns.items()
            },
        )
        for at, ts in enumerate(frame.ticks)
    ]


def as_f4(value: float | None, field: int) -> float | None:
    """Gauges travel with four bytes."""
    if value is None or FIELDS[field].kind is not Kind.GAUGE:
        return value
    return struct.unpack("f", struct.pack("f", value))[0]  # type: ignore[no-any-return]


@st.composite
def runs(draw: st.DrawFn) -> list[Sample]:
    """Samples as a node gives them: mostly a second apart; clocks step, GPUs come and go, fields too."""
    ts, run = T0, []
    gpus = draw(st.sampled_from([[A], [A, B]]))
    watched = draw(st.sampled_from([(GPU_TEMP, PCIE_REPLAY_COUNTER), (POWER, ECC_DBE_VOLATILE, POWER_VIOLATION)]))
    for _ in range(draw(st.integers(1, 30))):
        ts += draw(st.sampled_from([1000] * 8 + [999, 1003, 60_000, 0, -1, -3_600_000]))
        if draw(st.integers(0, 9)) == 0:
            gpus = draw(st.sampled_from([[], [A], [A, B], [B, A], [A, B, C]]))
        if draw(st.integers(0, 19)) == 0:
            watched = (GPU_TEMP, ROW_REMAP_PENDING)
        value = st.none() | st.sampled_from([0.0, 0.0, 1.0, 40.123, 2.0**40 + 1])
        run.append(Sample(ts, gpus, {field: [draw(value) for _ in gpus] for field in watched}))
    return run


@given(runs())
def test_each_sample_is_in_exactly_one_frame_as_it_was(run: list[Sample]) -> None:
    sampler, said = Sampler("n"), []
    for sample in run:
        said += sampler.add(*sample)
    said += sampler.flush()
    expected = [
        Sample(ts, gpus, {field: [as_f4(one, field) for one in column] for field, column in values.items()})
        for ts, gpus, values in run
        if gpus
    ]
    assert [sample for frame in decoded(said) for sample in samples_of(frame)] == expected
    assert sampler.flush() == []


@given(runs())
def test_within_a_frame_time_rises_and_it_is_never_long(run: list[Sample]) -> None:
    sampler = Sampler("n")
    for sample in run:
        for frame in decoded(sampler.add(*sample)):
            assert all(a < b for a, b in pairwise(frame.ticks))
            assert frame.ticks[-2:-1] == [] or frame.ticks[-2] - frame.ticks[0] < 5000
            assert len(frame.ticks) <= TICKS_MAX


@given(runs())
def test_when_a_fault_field_changes_nothing_is_held_back(run: list[Sample]) -> None:
    sampler, before = Sampler("n"), None
    for sample in run:
        sampler.add(*sample)
        if before and before.gpus == sample.gpus and before.values.keys() == sample.values.keys():
            moved = [field for field in sample.values if sample.values[field] != before.values[field]]
            if URGENT & set(moved):
                assert sampler.flush() == []
        before = sample


def one(ts: int, **values: float | None) -> Sample:
    ids = {"temp": GPU_TEMP, "dbe": ECC_DBE_VOLATILE, "clock": MAX_SM_CLOCK, "hot": THERMAL_VIOLATION}
    return Sample(ts, [A], {ids[name]: [value] for name, value in values.items()})


def lengths(run: list[Sample], **options: float) -> list[int]:
    """How many samples each frame has; what is still held at the end is no frame."""
    sampler = Sampler("n", **options)
    return [len(frame.ticks) for sample in run for frame in decoded(sampler.add(*sample))]


def test_every_five_seconds_a_frame() -> None:
    steady = [one(T0 + 1000 * second, temp=40.0, dbe=0.0) for second in range(20)]
    assert lengths(steady) == [5, 5, 5, 5]
    assert lengths(steady, publish_s=1.0) == [1] * 20


def test_samples_that_come_a_bit_early_or_late_do_not_shift_the_frames() -> None:
    jitter = [0, 1004, 1998, 3003, 3990, 5001, 6004, 6999, 8003, 8991]
    assert lengths([one(T0 + ms, temp=40.0) for ms in jitter]) == [5, 5]


def test_a_sample_after_a_long_gap_is_not_held_back() -> None:
    assert lengths([one(T0, temp=40.0), one(T0 + 60_000, temp=40.0)]) == [2]


def test_fast_samples_do_not_make_a_frame_without_bound() -> None:
    assert lengths([one(T0 + 10 * step, temp=40.0) for step in range(TICKS_MAX + 1)]) == [TICKS_MAX]


def test_a_counter_of_faults_that_moves_goes_at_once() -> None:
    assert lengths([one(T0, dbe=0.0), one(T0 + 1000, dbe=0.0), one(T0 + 2000, dbe=1.0)]) == [3]


def test_a_counter_of_faults_that_turns_blank_goes_at_once() -> None:
    assert lengths([one(T0, dbe=0.0), one(T0 + 1000, dbe=None)]) == [2]
    assert lengths([one(T0, dbe=None), one(T0 + 1000, dbe=None)]) == []


def test_what_changes_under_any_load_does_not_go_at_once() -> None:
    assert lengths([one(T0 + 1000 * n, temp=40.0 + n, clock=1980.0 + n, hot=float(n)) for n in range(4)]) == []


def test_other_gpus_go_at_once() -> None:
    less = Sample(T0 + 2000, [B], {GPU_TEMP: [41.0]})
    both = [Sample(T0 + 1000 * n, [A, B], {GPU_TEMP: [40.0, 41.0]}) for n in range(2)]
    assert lengths([*both, less]) == [2, 1]


def test_a_clock_that_steps_back_begins_a_frame() -> None:
    run = [one(T0, temp=40.0), one(T0 + 1000, temp=40.0), one(T0 - 90_000, temp=40.0), one(T0 - 89_000, temp=40.0)]
    sampler = Sampler("n")
    said = [frame for sample in run for frame in decoded(sampler.add(*sample))] + decoded(sampler.flush())
    assert [frame.ticks for frame in said] == [[T0, T0 + 1000], [T0 - 90_000, T0 - 89_000]]


def test_counters_that_do_not_change_travel_once() -> None:
    sampler = Sampler("n")
    values: Values = {field: [0.0, 0.0] for field in (ECC_DBE_VOLATILE, PCIE_REPLAY_COUNTER, MAX_SM_CLOCK)}
    for second in range(4):
        assert sampler.add(T0 + 1000 * second, [A, B], values) == []
    (frame,) = decoded(sampler.add(T0 + 4000, [A, B], values))
    assert (len(frame.ticks), len(frame.counter_values), frame.change_values) == (5, 8 * 3 * 2, b"")


def test_a_node_without_gpus_gives_no_frame() -> None:
    sampler = Sampler("n")
    assert [sampler.add(T0 + 1000 * second, [], {GPU_TEMP: []}) for second in range(9)] == [[]] * 9
    assert sampler.flush() == []
