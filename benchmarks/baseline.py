"""The same rules, written the straightforward way: one Python object per GPU, one value at a time.

The yardstick of `benchmarks.node_stage`, and a second opinion on its scores.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from processors.load import NEGLIGIBLE
from processors.policy import Policy
from schemas import frames
from schemas.fields import (
    CLOCK_EVENT_REASONS,
    ECC_DBE_VOLATILE,
    ECC_SBE_VOLATILE,
    FIELDS,
    GPU_TEMP,
    GPU_TEMP_MARGIN,
    MEMORY_TEMP,
    NVLINK_CRC_FLIT_TOTAL,
    PCIE_REPLAY_COUNTER,
    POWER,
    POWER_LIMIT,
    REMAPPED_UNCORRECTABLE,
    RETIRED_DBE,
    RETIRED_SBE,
    ROW_REMAP_FAILURE,
    ROW_REMAP_PENDING,
    Kind,
)
from schemas.policy import Thresholds

RATES = {
    "correctable_ecc": (ECC_SBE_VOLATILE, 30, 120_000),
    "nvlink_crc": (NVLINK_CRC_FLIT_TOTAL, 15, 240_000),
    "nvlink_burst": (NVLINK_CRC_FLIT_TOTAL, 4, 15_000),
    "pcie_replay": (PCIE_REPLAY_COUNTER, 6, 10_000),
}
HELD_BACK = {"clocks": 0x60, "power_brake": 0x80}


def level(limits: Thresholds, value: float) -> int:
    """The class of one value; see `Thresholds.classes`."""
    if math.isnan(value):
        return -1
    found = 0
    for number in (1, 2, 3):
        limit = limits.limit(number)
        if limit is not None:
            distance = limit - value if limits.falling else value - limit
            if distance > 0 or (limits.inclusive and distance == 0):
                found = number
    return found


class Window:
    """Events in the newest `slots` slots."""

    def __init__(self, slots: int, slot_ms: int) -> None:
        self.slots, self.slot_ms = slots, slot_ms
        self.counts: deque[tuple[int, float]] = deque()

    def add(self, ts: int, count: float) -> float:
        slot = ts // self.slot_ms
        while self.counts and self.counts[0][0] <= slot - self.slots:
            self.counts.popleft()
        if count:
            self.counts.append((slot, count))
        return sum(count for _, count in self.counts)


class GpuState:
    """One GPU, judged sample by sample."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.windows = {name: Window(slots, slot_ms) for name, (_, slots, slot_ms) in RATES.items()}
        self.known: dict[int, float] = {}
        self.levels: dict[str, int] = {}
        self.uncorrectable = math.nan
        self.damage: dict[int, float] = {}
        self.held_back = dict.fromkeys(HELD_BACK, 0.0)
        self.last_ts = 0

    def sample(self, ts: int, values: dict[int, float]) -> float:
        """Take one tick in, return the score."""
        increases = {field: self._increase(field, value) for field, value in values.items()}
        for name, (field, _, _) in RATES.items():
            if field in values:
                increase = increases[field]
                rate = self.windows[name].add(ts, 0.0 if math.isnan(increase) else increase)
                self._judge(name, math.nan if math.isnan(values[field]) else rate)
        if ECC_DBE_VOLATILE in values:
            increase = increases[ECC_DBE_VOLATILE]
            first = math.isnan(self.uncorrectable)
            self.uncorrectable = (
                values[ECC_DBE_VOLATILE] if first else self.uncorrectable + (0.0 if math.isnan(increase) else increase)
            )
            self._judge("uncorrectable_ecc", self.uncorrectable)
        retired = self._stands(RETIRED_SBE, values), self._stands(RETIRED_DBE, values)
        pages = [count for count in retired if not math.isnan(count)]
        self._judge("retired_pages", sum(pages) if pages else math.nan)
        self._judge("remapped_rows", self._stands(REMAPPED_UNCORRECTABLE, values))
        failed, pending = self._stands(ROW_REMAP_FAILURE, values), self._stands(ROW_REMAP_PENDING, values)
        self.levels["row_remap"] = 3 if failed > 0 else 1 if pending > 0 else 0
        margin = values.get(GPU_TEMP_MARGIN, math.nan)
        self._judge("temperature_margin", margin)
        self._judge("temperature", math.nan if not math.isnan(margin) else values.get(GPU_TEMP, math.nan))
        highest = self.policy.signal("memory_temperature").max_c
        self._judge("memory_temperature", highest - values.get(MEMORY_TEMP, math.nan))
        for name, held in HELD_BACK.items():
            self._clocks(name, held, ts, values)
        self.last_ts = ts
        return self._score()

    def _increase(self, field: int, value: float) -> float:
        if FIELDS[field].kind is Kind.GAUGE or math.isnan(value):
            return math.nan
        before = self.known.get(field)
        self.known[field] = value
        if before is None:
            return 0.0
        return value - before if value >= before else value

    def _stands(self, field: int, values: dict[int, float]) -> float:
        """The last known value: a blank repairs nothing."""
        value = values.get(field, math.nan)
        if not math.isnan(value):
            self.damage[field] = value
        return self.damage.get(field, math.nan)

    def _judge(self, name: str, value: float) -> None:
        self.levels[name] = level(self.policy.signal(name).limits, value)

    def _clocks(self, name: str, held: int, ts: int, values: dict[int, float]) -> None:
        policy = self.policy.signal(name)
        reasons = values.get(CLOCK_EVENT_REASONS, math.nan)
        if math.isnan(reasons):
            self._judge(name, math.nan)
            return
        bits = int(reasons)
        power, limit = values.get(POWER, math.nan), values.get(POWER_LIMIT, math.nan)
        loaded = not bits & 0x1 and not power < policy.load_power_share * limit
        share = self.held_back[name]
        if loaded and self.last_ts:
            dt = (ts - self.last_ts) / 1000.0
            step = dt / (policy.smoothing_s + dt)
            share += step * (float(bool(bits & held)) - share)
        self.held_back[name] = share if share >= NEGLIGIBLE else 0.0
        self._judge(name, 100.0 * self.held_back[name])

    def _score(self) -> float:
        score = 1.0
        for name, found in self.levels.items():
            if found > 0:
                caps = self.policy.signal(name).caps
                score = min(score, (caps.warning, caps.critical, caps.evict)[found - 1])
        return score


class PythonFleet:
    """Every GPU of every node."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.gpus: dict[str, GpuState] = {}
        self.scores: dict[str, float] = {}

    def frame(self, data: bytes) -> None:
        frame = frames.decode(data)
        columns: dict[int, Any] = dict(frame.columns())
        width = len(frame.gpus)
        for number, ts in enumerate(frame.ticks):
            for at, gpu in enumerate(frame.gpus):
                state = self.gpus.get(gpu.uuid)
                if state is None:
                    state = self.gpus[gpu.uuid] = GpuState(self.policy)
                values = {field: column[number * width + at] for field, column in columns.items()}
                self.scores[gpu.uuid] = state.sample(ts, values)
