"""The newest telemetry of every GPU: what a page of metrics shows, and no more than that is decoded."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas import fields, frames
from schemas.log import Record
from schemas.records import Gpu, gpu_key

STALE_MS = 60_000  # a value older than this says nothing about now

SHOWN_COUNTERS = frozenset(
    (
        fields.ECC_SBE_VOLATILE,
        fields.ECC_DBE_VOLATILE,
        fields.RETIRED_SBE,
        fields.RETIRED_DBE,
        *fields.NVLINK_CRC_FLIT,
    )
)


class Reading:
    """One GPU. values: DCGM field id to its newest value; blank ones are not in it."""

    __slots__ = ("key", "node", "seen_ms", "values")

    def __init__(self, key: str) -> None:
        self.key = key
        self.node = ""
        self.seen_ms = 0
        self.values: dict[int, float] = {}

    def copy(self) -> Reading:
        twin = Reading(self.key)
        twin.node, twin.seen_ms, twin.values = self.node, self.seen_ms, dict(self.values)
        return twin


class _Last(NamedTuple):
    """A node's newest frame: what tells a double, and whether its counters have changed since."""

    epoch: int
    seq: int
    gpus: list[Gpu]
    counters: list[int]
    counter_bytes: bytes
    readings: list[Reading]


class Readings:
    """Takes telemetry records in log order; the order of the log, not a node's clock, says what is newest."""

    def __init__(self) -> None:
        self._gpus: dict[str, Reading] = {}
        self._nodes: dict[str, _Last] = {}

    def take(self, record: Record) -> None:
        """Raises ValueError for a frame that is not sound."""
        frame = frames.decode(record.value)
        last = self._nodes.get(frame.node)
        if last and frame.epoch == last.epoch and frame.seq <= last.seq:
            return
        if last and frame.gpus == last.gpus:
            readings = last.readings
        else:
            readings = [self._reading(frame.node, gpu) for gpu in frame.gpus]
        for reading in readings:
            reading.node, reading.seen_ms = frame.node, record.ts

        _take_temperatures(frame, readings)
        counters = _at_last_tick(frame)
        counter_bytes = counters.tobytes()  # comparable where values are NaN
        if not (
            last
            and readings is last.readings
            and frame.counters == last.counters
            and counter_bytes == last.counter_bytes
        ):
            _take_counters(frame, counters, readings)
        self._nodes[frame.node] = _Last(frame.epoch, frame.seq, frame.gpus, frame.counters, counter_bytes, readings)

    def fresh(self, now_ms: int) -> Iterator[Reading]:
        """Copies of what is not older than a minute at `now_ms`, a time of the log."""
        for reading in self._gpus.values():
            if now_ms - reading.seen_ms <= STALE_MS:
                yield reading.copy()

    def _reading(self, node: str, gpu: Gpu) -> Reading:
        key = gpu_key(node, gpu.uuid, gpu.bdf)
        if key not in self._gpus:
            self._gpus[key] = Reading(key)
            if gpu.uuid:  # until now it may have been known by its place alone
                self._gpus.pop(gpu_key(node, "", gpu.bdf), None)
        return self._gpus[key]


def _take_temperatures(frame: frames.TelemetryFrame, readings: list[Reading]) -> None:
    if fields.GPU_TEMP not in frame.gauges:
        return
    width, ticks = len(frame.gpus), len(frame.ticks)
    end = 4 * width * ticks * (frame.gauges.index(fields.GPU_TEMP) + 1)
    _put(fields.GPU_TEMP, frames.floats("f", frame.gauge_values[end - 4 * width : end]), readings)


def _at_last_tick(frame: frames.TelemetryFrame) -> array[float]:
    """The counters, [counter, gpu], with all changes applied."""
    values = frames.floats("d", frame.counter_values)
    changes = zip(frames.floats("I", frame.change_at), frames.floats("d", frame.change_values), strict=True)
    for position, value in changes:  # in the order of ticks: the last one stays
        values[position % len(values)] = value
    return values


def _take_counters(frame: frames.TelemetryFrame, values: array[float], readings: list[Reading]) -> None:
    width = len(frame.gpus)
    for at, field in enumerate(frame.counters):
        if field in SHOWN_COUNTERS:
            _put(field, values[at * width : (at + 1) * width], readings)


def _put(field: int, column: Iterable[float], readings: list[Reading]) -> None:
    known = fields.FIELDS[field]
    for reading, value in zip(readings, column, strict=True):
        if fields.is_blank(known, value):
            reading.values.pop(field, None)
        else:
            reading.values[field] = value
