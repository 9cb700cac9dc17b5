"""What signals see of the frames, sample by sample, against the frames themselves."""

from __future__ import annotations

import math
from array import array
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.node import NodeTask
from processors.signal import Signal
from processors.testing import START_MS, Observations, Said, judge
from schemas import frames
from schemas.fields import (
    ECC_DBE_VOLATILE,
    ECC_SBE_VOLATILE,
    GPU_TEMP,
    MEM_CLOCK,
    POWER,
    RETIRED_SBE,
    THERMAL_VIOLATION,
)
from schemas.log import Record
from schemas.records import Gpu

NAN = math.nan
CHANGING = (ECC_SBE_VOLATILE, RETIRED_SBE)
UNWANTED = (MEM_CLOCK, THERMAL_VIOLATION)  # in the frames, and nobody reads them


class Probe(Signal):
    """Notes everything that it is shown. Field 155 (power) tells GPUs apart."""

    name = "probe"
    fields = (POWER, GPU_TEMP, *CHANGING)

    def __init__(self) -> None:
        self.sampled: dict[tuple[float, int], tuple[float, ...]] = {}
        self.changed: dict[tuple[float, int], tuple[float, ...]] = {}

    def note(self, wave: Any, notes: dict[tuple[float, int], tuple[float, ...]]) -> None:
        columns = [wave[GPU_TEMP], *(wave[field] for field in CHANGING), *(wave.increase(field) for field in CHANGING)]
        for at, (who, ts) in enumerate(zip(wave[POWER].tolist(), wave.ts.tolist(), strict=True)):
            assert (who, ts) not in notes, "each GPU once per tick"
            notes[who, ts] = (float(wave.dt[at]), *(float(column[at]) for column in columns))

    def on_samples(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
        self.note(wave, self.sampled)

    def on_change(self, wave: Any, state: Any, policy: Any, out: Any) -> None:
        self.note(wave, self.changed)


class Expected:
    """The same, GPU by GPU, from the frames as `schemas.frames` reads them."""

    def __init__(self) -> None:
        self.sampled: dict[tuple[float, int], tuple[float, ...]] = {}
        self.changed: set[tuple[float, int]] = set()
        self._last: dict[float, int] = {}
        self._level: dict[tuple[float, int], float] = {}
        self._base: dict[tuple[float, int], float] = {}

    def frame(self, frame: frames.TelemetryFrame) -> None:
        columns, width = dict(frame.columns()), len(frame.gpus)
        for tick, ts in enumerate(frame.ticks):
            for at in range(width):
                value = {field: values[tick * width + at] for field, values in columns.items()}
                self._sample(value[POWER], ts, value)

    def _sample(self, who: float, ts: int, value: dict[int, float]) -> None:
        dt = (ts - self._last[who]) / 1000 if who in self._last else NAN
        self._last[who] = ts
        increases = []
        for field in CHANGING:
            key = who, field
            level = self._level.get(key, NAN)
            new = value.get(field, level)  # what is not in the frame stays
            moved = field in value and not (new == level or (new != new and level != level))
            base = self._base.get(key, NAN)
            increase = 0.0 if not math.isnan(new) else NAN
            if moved:
                self.changed.add((who, ts))
                self._level[key] = new
                if not math.isnan(new):
                    increase = 0.0 if math.isnan(base) else new - base if new >= base else new
                    self._base[key] = new
            increases.append(increase)
        levels = [self._level.get((who, field), NAN) for field in CHANGING]
        self.sampled[who, ts] = (dt, value.get(GPU_TEMP, NAN), *levels, *increases)


def same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


COUNT = st.one_of(st.integers(0, 3), st.none())


@st.composite
def logs(draw: st.DrawFn) -> list[frames.TelemetryFrame]:
    """Frames of some nodes in an order, of various layouts and lengths; each node's own time rises."""
    made, clock = [], dict.fromkeys(range(3), 0)
    for number in range(draw(st.integers(1, 12))):
        node = draw(st.integers(0, 2))
        gpus, ticks = draw(st.sampled_from([1, 2] if node else [40])), draw(st.integers(1, 3))
        size = gpus * ticks
        cells = st.lists(COUNT, min_size=size, max_size=size)
        few = st.lists(COUNT, min_size=gpus, max_size=gpus)
        columns: dict[int, Any] = {POWER: [100 * node + at for at in range(gpus)] * ticks}
        optional: dict[int, Any] = {
            GPU_TEMP: few.map(lambda values, ticks=ticks: values * ticks) if gpus == 40 else cells,
            ECC_SBE_VOLATILE: few if gpus == 40 else cells,
            RETIRED_SBE: few,
            MEM_CLOCK: few,
            THERMAL_VIOLATION: cells if gpus < 40 else few,
        }
        for field in draw(st.permutations(list(optional))):
            if draw(st.booleans()):
                columns[field] = draw(optional[field])
        times = []
        for _ in range(ticks):
            clock[node] += draw(st.sampled_from([1, 1000, 7000]))
            times.append(START_MS + clock[node])
        listed = [Gpu(uuid=f"G{node}-{at}", bdf=f"0000:{at:02x}:00") for at in range(gpus)]
        made.append(frames.build(node=f"n{node}", seq=number, gpus=listed, ticks=times, columns=columns))
    return made


@settings(max_examples=60)
@given(logs(), st.integers(1, 12))
def test_signals_see_what_the_frames_say(told: list[frames.TelemetryFrame], batch: int) -> None:
    """Several frames of one node in one batch, other layouts, other lengths, more GPUs than rows at first."""
    probe, expected = Probe(), Expected()
    task = NodeTask(signals=(probe,))
    log = [
        Record(at, START_MS + 300_000, frame.node, frames.KIND, frames.encode(frame)) for at, frame in enumerate(told)
    ]
    for frame in told:
        expected.frame(frame)
    for start in range(0, len(log), batch):
        assert Said(task.step(log[start : start + batch])).dead_letters == []
    assert probe.sampled.keys() == expected.sampled.keys()
    for key, found in probe.sampled.items():
        assert same(found, expected.sampled[key]), (key, found, expected.sampled[key])
    assert set(probe.changed) == expected.changed
    for key, found in probe.changed.items():
        assert same(found[1:], expected.sampled[key][1:]), (key, found, expected.sampled[key])


# --- frames that are not sound -----------------------------------------------------------------------------------


def frame(**changes: Any) -> bytes:
    """Two GPUs, two ticks, one gauge and one counter that moves at the second tick."""
    built = frames.build(
        node="n1",
        seq=1,
        gpus=[Gpu(uuid="A", bdf="1"), Gpu(uuid="B", bdf="2")],
        ticks=[START_MS, START_MS + 1000],
        columns={GPU_TEMP: [50, 50, 50, 50], ECC_SBE_VOLATILE: [0, 0, 5, 0]},
    )
    return frames.encode(msgspec.structs.replace(built, **changes))


def at(*positions: int) -> dict[str, bytes]:
    return {
        "change_at": array("I", positions).tobytes(),
        "change_values": array("d", [7.0] * len(positions)).tobytes(),
    }


UNSOUND: dict[str, dict[str, Any]] = {
    "fewer gauge values": {"gauge_values": b"\0" * 12},
    "more gauge values": {"gauge_values": b"\0" * 20},
    "no gauge values": {"gauge_values": b""},
    "counters of one GPU": {"counter_values": b"\0" * 8},
    "half a number": {"counter_values": b"\0" * 15},
    "changes without values": {"change_values": b""},
    "values without changes": {"change_at": b""},
    "half a position": {"change_at": b"\0" * 3, "change_values": b"\0" * 6},
    "a change at the first tick": at(1),
    "a change behind the last tick": at(4),
    "changes that fall": at(3, 2),
    "changes that stand": at(2, 2),
    "ticks that fall": {"ticks": [START_MS + 1000, START_MS]},
    "ticks that stand": {"ticks": [START_MS, START_MS]},
    "no ticks": {"ticks": []},
    "a tick too many": {"ticks": [START_MS, START_MS + 1000, START_MS + 2000]},
    "a tick before all time": {"ticks": [-5, START_MS]},
    "a tick at the end of time": {"ticks": [START_MS, 2**60]},
    "no GPUs": {"gpus": []},
    "a GPU too few": {"gpus": [Gpu(uuid="A")]},
    "a GPU without a name": {"gpus": [Gpu(uuid="A"), Gpu()]},
    "one UUID twice": {"gpus": [Gpu(uuid="A", bdf="1"), Gpu(uuid="A", bdf="2")]},
    "one BDF twice": {"gpus": [Gpu(uuid="A", bdf="1"), Gpu(uuid="B", bdf="1")]},
    "a field twice": {"counters": [GPU_TEMP]},
    "a field too many": {"gauges": [GPU_TEMP, POWER]},
    "a number of frames that no agent reaches": {"seq": 2**60},
}


@pytest.mark.parametrize("what", UNSOUND)
def test_an_unsound_frame_is_a_dead_letter_with_its_bytes(what: str) -> None:
    data = frame(**UNSOUND[what])
    said = judge([Record(7, START_MS + 2000, "n1", "telemetry", data)])
    (letter,) = said.dead_letters
    assert (letter.source, letter.node, letter.kind, letter.data) == ("observations/0/7", "n1", "telemetry", data)
    assert len(letter.why) > 10
    assert said.rates == []


def test_the_frame_that_they_are_made_of_is_sound() -> None:
    said = judge([Record(7, START_MS + 2000, "n1", "telemetry", frame())])
    assert said.dead_letters == []
    assert [(rate.uuid, rate.value) for rate in said.rates] == [("A", 0.0), ("B", 0.0)]


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"not msgpack", frame()[:-20], frame() + b"x", b"\xc1", b"\x82\xa1x" + b"\x91" * 100_000]
)
def test_bytes_that_are_no_frame_are_a_dead_letter(data: bytes) -> None:
    (letter,) = judge([Record(0, START_MS, "n1", "telemetry", data)]).dead_letters
    assert letter.data == data


@pytest.mark.parametrize("nothing", [math.inf, -math.inf, 2_147_483_632.0, 2_147_483_635.0, 140_737_488_355_328.0])
def test_a_sentinel_that_a_source_lets_through_is_blank(nothing: float) -> None:
    probe = Probe()
    judge(Observations().frame("n1", 1.0, {POWER: 1.0, GPU_TEMP: nothing}), NodeTask(signals=(probe,)))
    ((_, celsius, *_),) = probe.sampled.values()
    assert math.isnan(celsius)
    (score,) = judge(Observations().frame("n1", 1.0, {POWER: 1.0, GPU_TEMP: nothing}).tick(9.0)).latest.values()
    assert score.score == 1.0


def test_frames_of_other_layouts_do_not_touch_what_they_do_not_name() -> None:
    log = Observations().frame("n1", 1.0, {ECC_DBE_VOLATILE: 1, GPU_TEMP: 50})
    for second in range(2, 12):
        log.frame("n1", second, {GPU_TEMP: 50})
    (score,) = judge(log).latest.values()
    assert score.score == 0.1
    assert np.isclose(score.reasons[0].value or 0, 1.0)
