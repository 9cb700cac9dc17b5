"""What is known of a node between its records: its numbers, its clock, and where its frames belong."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.layout import Layout, Shape

Array = npt.NDArray[Any]

AHEAD_MS = 5_000  # how far a node's clock, or the time of an event, may run ahead of the log's append time
STEP_MS = 1_000  # the gap assumed where a node's clock stepped back


class Seat:
    """Where the frames of a node belong, for as long as they name the same GPUs and fields.

    sizes: bytes of gauges, bytes of counters, ticks: what is known to be right, and gives `shape`.
    told: the counters of its newest frame, as bytes, where those are how the counters of `rows` still stand.
    """

    __slots__ = ("layout", "raw_rows", "rows", "shape", "sizes", "told")

    def __init__(self, layout: Layout, rows: Array) -> None:
        self.layout = layout
        self.rows = rows
        self.raw_rows = rows.tobytes()
        self.sizes = (-1, -1, -1)
        self.shape = Shape(layout, 0, len(rows))
        self.told: bytes | None = None


class NodeState:
    """What is known of one node between its records."""

    __slots__ = (
        "boot",
        "cluster",
        "counters_raw",
        "driver_load",
        "epoch",
        "fault_seq",
        "gauges_raw",
        "gpus_raw",
        "last_ms",
        "name",
        "round",
        "seat",
        "seq",
        "shift_ms",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.cluster = "default"
        self.epoch = -1
        self.seq = -1
        self.fault_seq = -1
        self.shift_ms = 0  # subtracted from the node's own times
        self.last_ms = 0
        self.boot = ""
        self.driver_load = ""
        self.gpus_raw = self.gauges_raw = self.counters_raw = msgspec.Raw()  # of its newest frame
        self.seat = Seat(Layout([], [], {}), np.empty(0, "i8"))
        self.round = 0  # how many records of the current batch wait for their turn

    def anchor(self, epoch: int) -> None:
        """A new agent: its numbers start again, and its clock is believed again."""
        self.epoch, self.seq, self.fault_seq = epoch, -1, -1
        self.shift_ms, self.last_ms = 0, 0

    def place(self, first: int, last: int, append_ts: int) -> bool:
        """Choose the shift for ticks from `first` to `last` (ms); returns whether the clock had to be corrected."""
        shift = last - append_ts - AHEAD_MS
        if shift < self.shift_ms:
            shift = self.shift_ms
        if self.last_ms and first - shift <= self.last_ms:  # the clock stepped back: go on from where it was
            shift = first - self.last_ms - STEP_MS
        corrected = shift != self.shift_ms
        self.shift_ms = shift
        self.last_ms = last - shift
        return corrected
