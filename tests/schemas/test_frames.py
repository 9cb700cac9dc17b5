"""Frames keep what was put into them, on the wire and in recordings, and say what is wrong with themselves."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import frames
from schemas.fields import ECC_DBE_VOLATILE, ECC_SBE_VOLATILE, GPU_TEMP, POWER, ROW_REMAP_FAILURE
from schemas.records import Gpu

GAUGES, COUNTERS = (GPU_TEMP, POWER), (ECC_SBE_VOLATILE, ECC_DBE_VOLATILE, ROW_REMAP_FAILURE)
SMALL = st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False))
COUNT = st.one_of(st.none(), st.integers(0, 2**53))


@st.composite
def columns(draw: st.DrawFn) -> tuple[int, int, dict[int, list[float | None]]]:
    """(ticks, GPUs, values by field), some of them once per GPU."""
    ticks, gpus = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    fields = draw(st.lists(st.sampled_from(GAUGES + COUNTERS), unique=True))
    drawn = {}
    for field in fields:
        size = gpus * (1 if draw(st.booleans()) else ticks)
        drawn[field] = draw(st.lists(SMALL if field in GAUGES else COUNT, min_size=size, max_size=size))
    return ticks, gpus, drawn


def build(ticks: int, gpus: int, values: dict[int, list[float | None]]) -> frames.TelemetryFrame:
    identities = [Gpu(uuid=f"GPU-{number}", bdf=f"0000:0{number}:00") for number in range(gpus)]
    times = [1_000 * (number + 1) for number in range(ticks)]
    return frames.build(node="n1", seq=1, gpus=identities, ticks=times, columns=values)


def plain(values: list[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


@given(columns())
def test_a_frame_gives_back_every_value_it_was_built_from(given_columns) -> None:
    ticks, gpus, values = given_columns
    frame = build(ticks, gpus, values)
    expected = {field: given if len(given) == ticks * gpus else given * ticks for field, given in values.items()}
    assert {field: plain(column) for field, column in frame.columns()} == expected


@given(columns())
def test_wire_and_recording_keep_a_frame_byte_for_byte(given_columns) -> None:
    frame = build(*given_columns)
    assert frames.decode(frames.encode(frame)) == frame
    through_json = msgspec.json.decode(msgspec.json.encode(frames.to_json(frame)))
    assert frames.encode(frames.from_json(through_json)) == frames.encode(frame)


def test_counters_that_do_not_move_travel_once() -> None:
    still = build(4, 2, {ECC_SBE_VOLATILE: [7] * 8})
    assert (len(still.counter_values), still.change_at) == (16, b"")


def test_counters_beyond_the_precision_of_f4_keep_their_increments() -> None:
    frame = build(2, 1, {ECC_SBE_VOLATILE: [2**40, 2**40 + 1]})
    assert dict(frame.columns())[ECC_SBE_VOLATILE] == [2**40, 2**40 + 1]


def test_fields_may_stand_under_either_generation_of_names() -> None:
    given_json = {"node": "n", "seq": 1, "gpus": [{"uuid": "a"}], "ticks": [1]}
    old = frames.from_json({**given_json, "fields": {"DCGM_FI_DEV_GPU_TEMP": [50]}})
    new = frames.from_json({**given_json, "fields": {"DCGM_FI_DEV_GPU_TEMP_CELSIUS": [50]}})
    assert old == new == frames.from_json({**given_json, "fields": {"150": [50]}})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ticks": []}, "frame without ticks or GPUs"),
        ({"gpus": []}, "frame without ticks or GPUs"),
        ({"ticks": [2_000, 1_000]}, "ticks must rise"),
        ({"gauge_values": b"\0" * 12}, "gauge_values has 12 bytes, expected 8"),
        ({"counter_values": b""}, "counter_values has 0 bytes, expected 8"),
        ({"change_at": b"\1\0\0\0"}, "change_values has 0 bytes, expected 8"),
        ({"change_at": b"\7\0\0\0", "change_values": b"\0" * 8}, "change_at lies outside the frame"),
        ({"change_at": b"\0\0\0\0", "change_values": b"\0" * 8}, "change_at lies outside the frame"),
        ({"change_at": b"\1\0\0\0\1\0\0\0", "change_values": b"\0" * 16}, "change_at must rise"),
    ],
)
def test_an_unsound_frame_says_what_is_wrong(change: dict[str, object], why: str) -> None:
    frame = build(2, 1, {GPU_TEMP: [50, 51], ECC_SBE_VOLATILE: [0]})
    with pytest.raises(ValueError, match=why):
        frames.decode(frames.encode(msgspec.structs.replace(frame, **change)))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"150": [1, 2, 3]}, r"column 150 has 3 values, expected 2 \(2 ticks x 1 GPUs\) or 1"),
        ({"4711": [1]}, "unknown DCGM field 4711"),
        ({"DCGM_FI_DEV_NONSENSE": [1]}, "unknown DCGM field 'DCGM_FI_DEV_NONSENSE'"),
        ({"150": ["hot"]}, r"\$.fields\[...\]\[0\]"),
    ],
)
def test_a_recorded_frame_that_is_wrong_says_where(fields: dict[str, list[object]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        frames.from_json({"node": "n", "seq": 1, "gpus": [{"uuid": "a"}], "ticks": [1, 2], "fields": fields})


@given(st.binary(max_size=200))
def test_decoding_any_bytes_either_works_or_raises_value_error(data: bytes) -> None:
    try:
        frame = frames.decode(data)
    except ValueError:
        return
    assert frame.fault() is None
