"""Samples of a node's GPUs become telemetry frames: one every few seconds, at once where a fault shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from producers.source import Observed
from schemas import frames
from schemas.fields import (
    FIELDS,
    MAX_SM_CLOCK,
    PCIE_GENERATION,
    PCIE_WIDTH,
    POWER_VIOLATION,
    THERMAL_VIOLATION,
    Kind,
)
from schemas.records import Gpu

PUBLISH_S = 5.0
TICKS_MAX = 60  # of one frame
LEEWAY_MS = 1500  # the next sample would come too late; half a sample's time is for those that come a bit early
STEADY = (Kind.COUNTER, Kind.LEVEL, Kind.FLAG)
# These change under any load, or with it.
ORDINARY = {MAX_SM_CLOCK, POWER_VIOLATION, THERMAL_VIOLATION, PCIE_GENERATION, PCIE_WIDTH}
URGENT = frozenset(id for id, field in FIELDS.items() if field.kind in STEADY and id not in ORDINARY)

Values = Mapping[int, Sequence[float | None]]


class Sampler:
    """Holds the samples of one node until a frame is due.

    A frame ends when it is `publish_s` long, when a counter or flag of faults changes (URGENT) or the GPUs do, and
    before a sample that does not fit it: other GPUs, other fields, or a clock that stepped back.

    Guarantees: each sample is in exactly one frame, in the order they came; within a frame ticks rise.
    """

    def __init__(self, node: str, cluster: str = "default", publish_s: float = PUBLISH_S) -> None:
        self._node = node
        self._cluster = cluster
        self._publish_ms = int(1000 * publish_s)
        self._gpus: list[Gpu] = []
        self._ticks: list[int] = []
        self._columns: dict[int, list[float | None]] = {}
        self._newest: dict[int, list[float | None]] = {}

    def add(self, ts: int, gpus: Sequence[Gpu], values: Values) -> list[Observed]:
        """Take the sample of `ts` (node time, ms): of each field the values of `gpus`, None = blank.

        Returns the frames that are complete with it.
        """
        done: list[Observed] = []
        fits = list(gpus) == self._gpus and values.keys() == self._columns.keys()
        if self._ticks and not (fits and ts > self._ticks[-1]):
            done += self.flush()
        if fits:
            urgent = any(list(values[field]) != self._newest.get(field) for field in values.keys() & URGENT)
        else:
            urgent = bool(self._newest) and list(gpus) != self._gpus
        if not self._ticks:
            self._gpus, self._columns = list(gpus), {field: [] for field in values}
        self._ticks.append(ts)
        for field, column in values.items():
            self._columns[field] += column
        self._newest = {field: list(column) for field, column in values.items()}
        if urgent or len(self._ticks) >= TICKS_MAX or ts - self._ticks[0] + LEEWAY_MS >= self._publish_ms:
            done += self.flush()
        return done

    def flush(self) -> list[Observed]:
        """What is held, as a frame; nothing if nothing is."""
        if not (self._ticks and self._gpus):
            self._ticks = []
            return []
        frame = frames.build(
            node=self._node,
            cluster=self._cluster,
            seq=0,
            gpus=self._gpus,
            ticks=self._ticks,
            columns=self._columns,
        )
        self._ticks, self._columns = [], {field: [] for field in self._columns}
        return [Observed(self._node, frames.KIND, frames.encode(frame))]
