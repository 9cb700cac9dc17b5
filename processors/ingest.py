"""What a node sends and what is known of it: frames and their layout, the node's clock, the row of each GPU."""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.log import Record
from schemas.records import Gpu

Array = npt.NDArray[Any]

AHEAD_MS = 5_000  # how far a node's clock, or the time of an event, may run ahead of the log's append time
STEP_MS = 1_000  # the gap assumed where a node's clock stepped back


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


class Shape:
    """Frames of one shape go through the signals together: of one layout, as many ticks, and as many GPUs (width)."""

    __slots__ = ("layout", "ticks", "width")

    def __init__(self, layout: Layout, ticks: int, width: int) -> None:
        self.layout = layout
        self.ticks = ticks
        self.width = width


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


class Frames(NamedTuple):
    """Frames that were accepted, N of them, as columns: their parts, their records, and where they belong.

    ticks: [N, T]. shift_ms: what to subtract from them. clock_ms, credit_ms: the stream clock and the credited time
    when they came.
    """

    ticks: Array
    gauge_values: list[bytes]
    counter_values: list[bytes]
    change_at: list[bytes]
    change_values: list[bytes]
    records: list[Record]
    seats: list[Seat]
    shift_ms: Array
    clock_ms: Array
    credit_ms: Array

    @classmethod
    def of(cls, shape: Shape, parts: list[Any]) -> Frames:
        """From the parts of each frame, one frame after the other."""
        ticks, *others, shift_ms, clock_ms, credit_ms = (
            parts[at :: len(cls._fields)] for at in range(len(cls._fields))
        )
        count = len(ticks)
        times = np.fromiter(chain.from_iterable(ticks), "i8", count * shape.ticks).reshape(count, shape.ticks)
        numbers = (np.fromiter(column, "i8", count) for column in (shift_ms, clock_ms, credit_ms))
        return cls._make((times, *others, *numbers))

    def without(self, some: Container[int]) -> Frames:
        """All but those of these numbers."""
        kept = [number for number in range(len(self.records)) if number not in some]
        return Frames._make(_chosen(column, kept) for column in self)


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


class Place(NamedTuple):
    """Where a GPU's row is, and what changed with that.

    named: the row was known by its BDF alone so far. moved: it has another BDF than before.
    replaced: UUID of the GPU that stood in this row before. absorbed: another row, known by its BDF alone, that
    turns out to be this GPU. displaced: the row of another GPU, in whose slot this one stands now.
    """

    row: int
    named: bool = False
    moved: bool = False
    replaced: str = ""
    absorbed: int | None = None
    displaced: int | None = None


class Roster:
    """Which GPU has which row: the one of its UUID on this node, else the one of its slot (node, BDF)."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.node_of: list[str] = []
        self.uuid_of: list[str] = []
        self.bdf_of: list[str] = []
        self._by_bdf: dict[tuple[str, str], int] = {}
        self._by_uuid: dict[tuple[str, str], int] = {}
        self._rows: dict[str, list[int]] = {}  # all that a node ever had

    def __len__(self) -> int:
        return len(self.node_of)

    def node(self, name: str) -> NodeState:
        state = self.nodes.get(name)
        if state is None:
            state = self.nodes[name] = NodeState(name)
        return state

    def settled(self, node: str, uuid: str, bdf: str) -> int | None:
        """The row of a GPU of which nothing new is said; None where `find` would change something."""
        own = self._by_uuid.get((node, uuid)) if uuid else None
        slot = self._by_bdf.get((node, bdf)) if bdf else None
        if not uuid:
            return slot
        return own if own == slot or not bdf else None

    def find(self, node: str, uuid: str, bdf: str) -> Place:
        """The row of a GPU, a new one if need be. It follows the UUID when the GPU changes its slot."""
        row = self.settled(node, uuid, bdf)
        if row is not None:
            return Place(row)
        self.node(node).gpus_raw = msgspec.Raw()  # the node's next frame looks its rows up again
        own = self._by_uuid.get((node, uuid)) if uuid else None
        slot = self._by_bdf.get((node, bdf)) if bdf else None
        named, replaced, absorbed, displaced = False, "", None, None
        if own is None and slot is None:
            row = len(self.node_of)
            self._rows.setdefault(node, []).append(row)
            self.node_of.append(node)
            self.uuid_of.append("")
            self.bdf_of.append("")
        elif own is None:
            assert slot is not None
            row, replaced = slot, self.uuid_of[slot]
            named = not replaced
            self._by_uuid.pop((node, replaced), None)
        else:
            row = own
            self._by_bdf.pop((node, self.bdf_of[own]), None)
            if slot is not None and self.uuid_of[slot]:
                displaced = slot
                self.bdf_of[slot] = ""
            elif slot is not None:
                absorbed = slot
        if uuid:
            self.uuid_of[row] = uuid
            self._by_uuid[node, uuid] = row
        if bdf:
            self.bdf_of[row] = bdf
            self._by_bdf[node, bdf] = row
        return Place(row, named, own is not None, replaced, absorbed, displaced)

    def find_all(self, node: str, gpus: Sequence[Gpu]) -> list[Place]:
        """`find` for GPUs that are listed together, which all end in rows of their own.

        The better known come first: a GPU that has moved leaves its slot before another one is found there.
        """

        def familiarity(at: int) -> tuple[bool, bool, bool]:
            gpu = gpus[at]
            return not gpu.uuid, not gpu.bdf, (node, gpu.uuid) not in self._by_uuid

        places = {at: self.find(node, gpus[at].uuid, gpus[at].bdf) for at in sorted(range(len(gpus)), key=familiarity)}
        return [places[at] for at in range(len(gpus))]

    def check(self, node: str, gpus: Sequence[Gpu]) -> None:
        """Raises ValueError where one GPU would be listed twice: by its UUID, and by the slot it is known to be in."""
        by_uuid = {gpu.uuid for gpu in gpus if not gpu.bdf}
        for gpu in gpus:
            slot = None if gpu.uuid else self._by_bdf.get((node, gpu.bdf))
            if slot is not None and self.uuid_of[slot] in by_uuid:
                raise ValueError(f"one GPU is listed twice: as {self.uuid_of[slot]} and as {gpu.bdf}")

    def retire(self, row: int) -> None:
        """The row stands for no GPU any more."""
        self._by_uuid.pop((self.node_of[row], self.uuid_of[row]), None)
        self.uuid_of[row] = self.bdf_of[row] = ""

    def known(self, node: str, uuid: str, bdf: str) -> int | None:
        """The row of a GPU that was seen before; a slot does not answer for a UUID that it is known not to hold."""
        row = self._by_uuid.get((node, uuid)) if uuid else None
        if row is None and bdf:
            row = self._by_bdf.get((node, bdf))
            if row is not None and uuid and self.uuid_of[row]:
                row = None
        return row

    def rows_of(self, node: str) -> list[int]:
        """The rows of the node's GPUs, rising."""
        return [row for row in self._rows.get(node, ()) if self.uuid_of[row] or self.bdf_of[row]]

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
        self.node_of, self.uuid_of, self.bdf_of = saved["rows"]
        for row, (node, uuid, bdf) in enumerate(zip(self.node_of, self.uuid_of, self.bdf_of, strict=True)):
            self._rows.setdefault(node, []).append(row)
            if uuid:
                self._by_uuid[node, uuid] = row
            if bdf:
                self._by_bdf[node, bdf] = row


def _chosen(column: Any, numbers: list[int]) -> Any:
    return column[numbers] if isinstance(column, np.ndarray) else [column[number] for number in numbers]


def check_numbers(observed: Any) -> None:
    """Raises ValueError for a number in a record that no time, counter or code can be."""
    for field in observed.__struct_fields__:
        value = getattr(observed, field)
        if isinstance(value, int) and abs(value) > 2**53:
            raise ValueError(f"{field} is out of range: {value}")
    code = getattr(observed, "code", None)
    if code is not None and not 0 <= code < 2**31:
        raise ValueError(f"no Xid has the code {code}")


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


def check_distinct(gpus: Sequence[Gpu]) -> None:
    """Raises ValueError unless every GPU has a UUID or a BDF, and no two have the same."""
    for gpu in gpus:
        if not (gpu.uuid or gpu.bdf):
            raise ValueError("every GPU needs a UUID or a BDF")
    for names in ([gpu.uuid for gpu in gpus if gpu.uuid], [gpu.bdf for gpu in gpus if gpu.bdf]):
        if len(set(names)) != len(names):
            raise ValueError(f"two GPUs of one node have the same UUID or BDF: {max(names, key=names.count)!r}")


def read_layout(gauges: bytes, counters: bytes, wanted: dict[int, int]) -> Layout:
    """The layout of a frame. Raises ValueError if a list is no list of ids, or they name a field twice."""
    first, second = _ids(gauges), _ids(counters)
    if len({*first, *second}) != len(first) + len(second):
        raise ValueError("a frame names a field twice")
    return Layout(first, second, wanted)
