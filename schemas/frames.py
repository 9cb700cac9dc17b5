"""Telemetry frames: T ticks x G GPUs x F fields of one node in one record, as binary columns in msgpack.

Gauges stand for every tick (f4). Counters, levels and flags stand once, for the first tick (f8: f4 loses
increments), followed by their changes at later ticks: a quiet node sends them once per frame. Blank is NaN.

In recordings the same frame is JSON with plain lists, `null` for blank (see `to_json` and `from_json`).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from schemas.fields import BY_NAME, FIELDS, Kind
from schemas.records import Gpu

KIND = "telemetry"
NAN = float("nan")


class TelemetryFrame(msgspec.Struct, kw_only=True):
    """One frame. All arrays are little endian and flat; `[a, b, c]` below is the order, last index fastest.

    ticks: node time of each tick, ms, rising. gauges, counters: DCGM field ids.
    gauge_values: f4 [gauge, tick, gpu]. counter_values: f8 [counter, gpu] at the first tick.
    change_at: u4 positions in [tick, counter, gpu], rising; change_values: f8, the value from that tick on.
    """

    v: int = 1
    cluster: str = "default"
    node: str
    epoch: int = 0
    seq: int
    gpus: list[Gpu]
    ticks: list[int]
    gauges: list[int]
    counters: list[int]
    gauge_values: bytes
    counter_values: bytes
    change_at: bytes = b""
    change_values: bytes = b""

    def fault(self) -> str | None:
        """What is wrong with the frame's shape, in words; None when nothing is."""
        ticks, gpus = len(self.ticks), len(self.gpus)
        if not ticks or not gpus:
            return "frame without ticks or GPUs"
        if any(later <= earlier for earlier, later in pairwise(self.ticks)):
            return "ticks must rise"
        for what, have, need in (
            ("gauge_values", len(self.gauge_values), 4 * len(self.gauges) * ticks * gpus),
            ("counter_values", len(self.counter_values), 8 * len(self.counters) * gpus),
            ("change_values", len(self.change_values), 2 * len(self.change_at)),
        ):
            if have != need:
                return f"{what} has {have} bytes, expected {need} for {ticks} ticks x {gpus} GPUs"
        positions = floats("I", self.change_at)
        size = ticks * len(self.counters) * gpus
        if len(self.change_at) % 4 or any(b <= a for a, b in pairwise(positions)):
            return "change_at must rise"
        if positions and not len(self.counters) * gpus <= positions[0] <= positions[-1] < size:
            return "change_at lies outside the frame"
        return None

    def columns(self) -> Iterator[tuple[int, list[float]]]:
        """Each field with its values in the order [tick, gpu]; NaN where blank."""
        ticks, gpus = len(self.ticks), len(self.gpus)
        gauge_values = floats("f", self.gauge_values)
        for at, field in enumerate(self.gauges):
            yield field, list(gauge_values[at * ticks * gpus : (at + 1) * ticks * gpus])
        cells = list(floats("d", self.counter_values))
        changes = dict(zip(floats("I", self.change_at), floats("d", self.change_values), strict=True))
        table = [list(cells)]
        for tick in range(1, ticks):
            start = tick * len(cells)
            cells = [changes.get(start + at, value) for at, value in enumerate(cells)] if changes else cells
            table.append(cells)
        for at, field in enumerate(self.counters):
            yield field, [value for row in table for value in row[at * gpus : (at + 1) * gpus]]


encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(TelemetryFrame)


def decode(data: bytes) -> TelemetryFrame:
    """The frame in `data`. Raises ValueError (with the reason) for anything that is not a sound frame."""
    frame = _decoder.decode(data)
    if why := frame.fault():
        raise ValueError(why)
    return frame


def build(
    *,
    node: str,
    seq: int,
    gpus: Sequence[Gpu],
    ticks: Sequence[int],
    columns: Mapping[int, Sequence[float | None]],
    cluster: str = "default",
    epoch: int = 0,
) -> TelemetryFrame:
    """A frame from `columns`: DCGM field id to values in the order [tick, gpu], or [gpu] if the same at each tick.

    None and NaN are blank. Raises ValueError when a column's length fits neither, or the field is unknown.
    """
    gauges: list[int] = []
    counters: list[int] = []
    gauge_values, first, at, changed = array("f"), array("d"), [], []
    size, width = len(gpus) * len(ticks), len(gpus)
    for field, given in columns.items():
        if field not in FIELDS:
            raise ValueError(f"unknown DCGM field {field}")
        if len(given) not in (size, width):
            raise ValueError(
                f"column {field} has {len(given)} values, expected {size} ({len(ticks)} ticks x {width} GPUs)"
                + (f" or {width}" if len(ticks) > 1 else "")
            )
        values = [NAN if value is None else value for value in given]
        if FIELDS[field].kind is Kind.GAUGE:
            gauges.append(field)
            gauge_values.extend(values * (size // len(values)))
        else:
            counters.append(field)
            first.extend(values[:width])
    row = len(counters) * width
    for number, field in enumerate(counters):
        given = columns[field]
        for position in range(width, len(given)):
            value, before = given[position], given[position - width]
            if value != before and not (_blank(value) and _blank(before)):
                tick, gpu = divmod(position, width)
                at.append((tick * row + number * width + gpu, NAN if value is None else value))
    at.sort()
    changed = [value for _, value in at]
    return TelemetryFrame(
        cluster=cluster,
        node=node,
        epoch=epoch,
        seq=seq,
        gpus=list(gpus),
        ticks=list(ticks),
        gauges=gauges,
        counters=counters,
        gauge_values=_little(gauge_values),
        counter_values=_little(first),
        change_at=_little(array("I", [position for position, _ in at])),
        change_values=_little(array("d", changed)),
    )


def to_json(frame: TelemetryFrame) -> dict[str, Any]:
    """The frame for a recording: `fields` maps field ids to plain lists, [gpu] where no tick differs."""
    fields: dict[str, list[float | int | None]] = {}
    width = len(frame.gpus)
    still = () if frame.change_at else frozenset(frame.counters)
    for field, values in frame.columns():
        same = field in still or values[width:] == values[:-width]  # NaN differs from itself: then all are written
        fields[str(field)] = [_plain(value) for value in (values[:width] if same else values)]
    return {
        "v": frame.v,
        "cluster": frame.cluster,
        "node": frame.node,
        "epoch": frame.epoch,
        "seq": frame.seq,
        "gpus": [{"uuid": gpu.uuid, "bdf": gpu.bdf} for gpu in frame.gpus],
        "ticks": frame.ticks,
        "fields": fields,
    }


class JsonFrame(msgspec.Struct, kw_only=True):
    """A telemetry frame as recordings hold it. fields: by id or DCGM name, in the order [tick, gpu] or [gpu]."""

    v: int = 1
    cluster: str = "default"
    node: str
    epoch: int = 0
    seq: int
    gpus: list[Gpu]
    ticks: list[int]
    fields: dict[str, list[float | None]]


def from_json(value: Any) -> TelemetryFrame:
    """The frame of a recording's JSON value; fields by id or DCGM name. Raises ValueError with the reason."""
    given = msgspec.convert(value, JsonFrame)
    columns: dict[int, list[float | None]] = {}
    for name, values in given.fields.items():
        field = int(name) if name.isdigit() else BY_NAME[name].id if name in BY_NAME else None
        if field is None:
            raise ValueError(f"unknown DCGM field {name!r}")
        columns[field] = values
    frame = build(
        cluster=given.cluster,
        node=given.node,
        epoch=given.epoch,
        seq=given.seq,
        gpus=given.gpus,
        ticks=given.ticks,
        columns=columns,
    )
    if why := frame.fault():
        raise ValueError(why)
    return frame


def floats(code: str, data: bytes) -> array[Any]:
    """The numbers in little-endian `data` (array type code f, d or I); a ragged tail is left out."""
    numbers = array(code)
    numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _little(numbers: array[Any]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _blank(value: float | None) -> bool:
    return value is None or value != value


def _plain(value: float) -> float | int | None:
    if value != value:
        return None
    whole = value.is_integer() and (value != 0.0 or str(value) == "0.0")  # minus zero stays what it is
    return int(value) if whole else value
