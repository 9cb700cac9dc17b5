"""A telemetry frame as it comes: decoded, with what it must be like to be used."""

from __future__ import annotations

from typing import Annotated

import msgspec

from processors.layout import Layout
from processors.roster import check_distinct
from schemas.records import Gpu

Whole = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # times in ms, numbers of records


class Frame(msgspec.Struct, gc=False, kw_only=True):
    """A telemetry frame (`schemas.frames.TelemetryFrame`) with identity and layout left as bytes to compare.

    In the order in which the fields are written: so they are read fastest.
    """

    v: int = 1
    cluster: str = "default"
    node: str
    epoch: Whole = 0
    seq: Whole
    gpus: msgspec.Raw
    ticks: list[Whole]
    gauges: msgspec.Raw
    counters: msgspec.Raw
    gauge_values: bytes
    counter_values: bytes
    change_at: bytes = b""
    change_values: bytes = b""


decode_frame = msgspec.msgpack.Decoder(Frame).decode
_gpus = msgspec.msgpack.Decoder(list[Gpu]).decode


def check_sizes(frame: Frame, layout: Layout, width: int) -> None:
    """Raises ValueError when the columns of a frame of `width` GPUs are not as long as they must be."""
    ticks = len(frame.ticks)
    if (
        len(frame.gauge_values) != 4 * layout.gauge_count * ticks * width
        or len(frame.counter_values) != 8 * layout.counter_count * width
        or len(frame.change_values) != 2 * len(frame.change_at)
        or len(frame.change_at) % 4
        or not ticks
    ):
        raise ValueError(
            f"columns disagree in length: {len(frame.gauge_values)} bytes of gauges, "
            f"{len(frame.counter_values)} of counters and {len(frame.change_values)} of changes for "
            f"{ticks} ticks x {width} GPUs x ({layout.gauge_count} gauges, {layout.counter_count} counters)"
        )


def gpu_list(raw: msgspec.Raw) -> list[Gpu]:
    """The GPUs of a frame. Raises ValueError if it is no list, names nobody or names somebody twice."""
    gpus = _gpus(raw)
    check_distinct(gpus)
    if not gpus:
        raise ValueError("a frame without GPUs")
    return gpus
