"""Which fields frames carry, and where: what many frames have in common, so that they are judged together."""

from __future__ import annotations

import msgspec
import numpy as np

_ids = msgspec.msgpack.Decoder(list[int]).decode


class Layout:
    """Which fields a frame carries and where: shared by all frames with the same two lists.

    gauges: those that are read, id -> position in the frame. counters: ids of the others that are read.
    level_rows: their rows in `processors.counters`.
    """

    def __init__(self, gauges: list[int], counters: list[int], wanted: dict[int, int]) -> None:
        self.gauge_count, self.counter_count = len(gauges), len(counters)
        self.gauges = {field: at for at, field in enumerate(gauges) if field in wanted}
        self.counter_at = np.array([at for at, field in enumerate(counters) if field in wanted], "i8")
        self.counters = [counters[at] for at in self.counter_at]
        self.level_rows = np.array([wanted[field] for field in self.counters], "i8")
        # Position among all counters of the frame -> position among those taken over; -1 = nobody reads it.
        self.counter_position = np.full(len(counters), -1, "i8")
        self.counter_position[self.counter_at] = np.arange(len(self.counters))


def read_layout(gauges: bytes, counters: bytes, wanted: dict[int, int]) -> Layout:
    """The layout of a frame. Raises ValueError if a list is no list of ids, or they name a field twice."""
    first, second = _ids(gauges), _ids(counters)
    if len({*first, *second}) != len(first) + len(second):
        raise ValueError("a frame names a field twice")
    return Layout(first, second, wanted)


class Shape:
    """Frames of one shape go through the signals together: of one layout, as many ticks, and as many GPUs (width)."""

    __slots__ = ("layout", "ticks", "width")

    def __init__(self, layout: Layout, ticks: int, width: int) -> None:
        self.layout = layout
        self.ticks = ticks
        self.width = width
