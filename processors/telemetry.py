"""Frames in: decoded, checked, numbered and placed in time; then each waits for its turn."""

from __future__ import annotations

from collections.abc import Callable

from processors.frame import Frame, check_sizes, decode_frame, gpu_list
from processors.judges import Judges
from processors.layout import Layout, Shape, read_layout
from processors.node_state import AHEAD_MS, NodeState, Seat
from processors.numbering import fresh
from processors.observed import check_key
from processors.stream_clock import StreamClock
from processors.turns import Turns
from processors.versions import NOT_UNDERSTOOD, VERSION, check_version, complaint
from processors.waves import TICKS_FALL
from schemas import records
from schemas.log import Record


class Telemetry:
    """The frames of a partition. find_node: what is known of a node; raises ValueError: it belongs elsewhere."""

    def __init__(self, clock: StreamClock, judges: Judges, turns: Turns, find_node: Callable[[str], NodeState]) -> None:
        self.clock = clock
        self.roster = judges.roster
        self.wanted = judges.rows.wanted
        self.out = judges.out
        self.turns = turns
        self.find_node = find_node
        self._layouts: dict[tuple[bytes, bytes], Layout] = {}
        self._shapes: dict[tuple[Layout, int, int], Shape] = {}

    def take(self, record: Record) -> None:
        """The only code that runs once per frame: kept short, and nearly without calls where nothing is new."""
        try:
            frame = decode_frame(record.value)
            if frame.v != VERSION or frame.node != record.key:
                check_version(frame.v)
                check_key(record, frame.node)
            node = self.roster.nodes.get(frame.node) or self.find_node(frame.node)
            seat, ticks = node.seat, frame.ticks
            gauge_values, counter_values, change_at = frame.gauge_values, frame.counter_values, frame.change_at
            news = None
            if frame.gpus != node.gpus_raw or frame.gauges != node.gauges_raw or frame.counters != node.counters_raw:
                news = self._news(node, frame)
            sizes = len(gauge_values), len(counter_values), len(ticks)
            if news or sizes != seat.sizes or change_at:
                layout, gpus = news or (seat.layout, None)
                check_sizes(frame, layout, len(seat.rows) if gpus is None else len(gpus))
            first, last = ticks[0], ticks[-1]
            if first > last:
                raise ValueError(TICKS_FALL)
        except NOT_UNDERSTOOD as error:
            self.out.dead_letter(record, complaint(record, error))
            return
        if frame.seq == node.seq + 1 and frame.epoch == node.epoch:
            node.seq = frame.seq
        elif not fresh(node, frame.epoch, frame.seq, self.out.counts, faults=False):
            return
        if news:
            seat = self._take_seat(node, frame, news, record)
        if sizes != seat.sizes:
            seat.sizes, seat.shape = sizes, self._shape(seat, len(ticks))
        if frame.cluster != node.cluster:
            self.turns.join(node, frame.cluster)
        shift_ms = node.shift_ms
        if first - shift_ms > node.last_ms and last - shift_ms <= record.ts + AHEAD_MS:
            node.last_ms = last - shift_ms
        elif node.place(first, last, record.ts):
            self.out.counts["clock_corrections"] += 1
        waiting, clock = self.turns.next(node).frames[seat.shape], self.clock
        waiting += (  # as in `Frames`
            ticks,
            gauge_values,
            counter_values,
            change_at,
            frame.change_values,
            record,
            seat,
            node.shift_ms,
            clock.now_ms,
            clock.credit_ms,
        )

    def _news(self, node: NodeState, frame: Frame) -> tuple[Layout, list[records.Gpu] | None]:
        """The layout of a frame that names other fields or GPUs than the one before, and its GPUs if they differ.

        Nodes of one kind share a layout, so that their frames go through the signals together.
        """
        raw = bytes(frame.gauges), bytes(frame.counters)
        if raw not in self._layouts:
            self._layouts[raw] = read_layout(*raw, self.wanted)
        gpus = None if frame.gpus == node.gpus_raw else gpu_list(frame.gpus)
        if gpus is not None:
            self.roster.check(node.name, gpus)
        return self._layouts[raw], gpus

    def _take_seat(
        self, node: NodeState, frame: Frame, news: tuple[Layout, list[records.Gpu] | None], record: Record
    ) -> Seat:
        layout, gpus = news
        rows = node.seat.rows if gpus is None else self.turns.rows(node, gpus, record)
        node.seat = Seat(layout, rows)
        node.gpus_raw, node.gauges_raw, node.counters_raw = frame.gpus, frame.gauges, frame.counters
        return node.seat

    def _shape(self, seat: Seat, ticks: int) -> Shape:
        key = seat.layout, ticks, len(seat.rows)
        if key not in self._shapes:
            self._shapes[key] = Shape(*key)
        return self._shapes[key]
