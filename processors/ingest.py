"""What a node sends and what is known of it: frames and their layout, the node's clock, the row of each GPU."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.records import Gpu

Array = npt.NDArray[Any]

AHEAD_MS = 5_000  # how far a node's clock may run ahead of the log's append time
STEP_MS = 1_000  # the gap assumed where a node's clock stepped back


Millis = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Frame(msgspec.Struct, gc=False):
    """A telemetry frame (`schemas.frames.TelemetryFrame`) with identity and layout left as bytes to compare."""

    node: str
    seq: int
    gpus: msgspec.Raw
    ticks: list[Millis]
    gauges: msgspec.Raw
    counters: msgspec.Raw
    gauge_values: bytes
    counter_values: bytes
    cluster: str = "default"
    epoch: int = 0
    change_at: bytes = b""
    change_values: bytes = b""


decode_frame = msgspec.msgpack.Decoder(Frame).decode
_gpus = msgspec.msgpack.Decoder(list[Gpu]).decode
_ids = msgspec.msgpack.Decoder(list[int]).decode


class Layout:
    """Which fields a frame carries and where: shared by all frames with the same two lists.

    gauges: id -> (position among the gauges taken over). changing: id -> the same among the others.
    """

    def __init__(self, gauges: list[int], counters: list[int], wanted: dict[int, int]) -> None:
        self.gauge_count, self.counter_count = len(gauges), len(counters)
        self.gauge_at = [at for at, field in enumerate(gauges) if field in wanted]
        self.gauges = {gauges[at]: position for position, at in enumerate(self.gauge_at)}
        self.counter_at = np.array([at for at, field in enumerate(counters) if field in wanted], "i8")
        self.counters = [counters[at] for at in self.counter_at]
        self.level_rows = np.array([wanted[field] for field in self.counters], "i8")
        self.dense: list[int] = []  # numbers of the signals that a frame of this layout samples
        # Position among all counters of the frame -> position among those taken over; -1 = nobody reads it.
        self.counter_position = np.full(len(counters), -1, "i8")
        self.counter_position[self.counter_at] = np.arange(len(self.counters))


NO_LAYOUT = Layout([], [], {})
NO_SIZES = (-1, -1, -1)


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
        "layout",
        "name",
        "round",
        "rows",
        "seq",
        "shift_ms",
        "sizes",
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
        self.rows: Array = np.empty(0, "i8")
        self.layout = NO_LAYOUT
        self.sizes = NO_SIZES  # bytes of gauges, bytes of counters, ticks: known to be right
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


class Roster:
    """Which GPU has which row: by (node, BDF), by (node, UUID) while there is no BDF."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.node_of: list[str] = []
        self.uuid_of: list[str] = []
        self.bdf_of: list[str] = []
        self._by_bdf: dict[tuple[str, str], int] = {}
        self._by_uuid: dict[tuple[str, str], int] = {}

    def __len__(self) -> int:
        return len(self.node_of)

    def node(self, name: str) -> NodeState:
        state = self.nodes.get(name)
        if state is None:
            state = self.nodes[name] = NodeState(name)
        return state

    def find(self, node: str, uuid: str, bdf: str) -> tuple[int, str | None]:
        """The row of a GPU, a new one if need be, and the UUID of the GPU that it replaced in its slot, if any."""
        row = self._by_bdf.get((node, bdf)) if bdf else None
        if row is None and uuid:
            row = self._by_uuid.get((node, uuid))
            if row is not None and bdf and self.bdf_of[row]:
                row = None  # the same GPU in another slot: a new row; the old slot falls silent
        if row is None:
            row = len(self.node_of)
            self.node_of.append(node)
            self.uuid_of.append("")
            self.bdf_of.append("")
        replaced = None
        if uuid and self.uuid_of[row] != uuid:
            replaced = self.uuid_of[row] or None
            self.uuid_of[row] = uuid
        if uuid:
            self._by_uuid[node, uuid] = row
        if bdf:
            self.bdf_of[row] = bdf
            self._by_bdf[node, bdf] = row
        return row, replaced

    def known(self, node: str, uuid: str, bdf: str) -> int | None:
        """The row of a GPU that was seen before."""
        row = self._by_uuid.get((node, uuid)) if uuid else None
        return row if row is not None or not bdf else self._by_bdf.get((node, bdf))

    def save(self) -> dict[str, Any]:
        nodes = [
            [n.name, n.cluster, n.epoch, n.seq, n.fault_seq, n.shift_ms, n.last_ms, n.boot, n.driver_load]
            for _, n in sorted(self.nodes.items())
        ]
        return {"nodes": nodes, "rows": [self.node_of, self.uuid_of, self.bdf_of]}

    def load(self, saved: dict[str, Any]) -> None:
        for name, cluster, epoch, seq, fault_seq, shift_ms, last_ms, boot, driver_load in saved["nodes"]:
            state = self.node(name)
            state.cluster = cluster
            state.epoch, state.seq, state.fault_seq = epoch, seq, fault_seq
            state.shift_ms, state.last_ms = shift_ms, last_ms
            state.boot, state.driver_load = boot, driver_load
        for node, uuid, bdf in zip(*saved["rows"], strict=True):
            self.find(node, uuid, bdf)


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
    keys = {gpu.uuid or gpu.bdf for gpu in gpus}
    if not gpus or "" in keys or len(keys) != len(gpus):
        raise ValueError("every GPU of a frame needs a UUID or a BDF of its own")
    return gpus


def read_layout(gauges: bytes, counters: bytes, wanted: dict[int, int]) -> Layout:
    """The layout of a frame. Raises ValueError if a list is no list of ids, or they name a field twice."""
    first, second = _ids(gauges), _ids(counters)
    if len({*first, *second}) != len(first) + len(second):
        raise ValueError("a frame names a field twice")
    return Layout(first, second, wanted)
