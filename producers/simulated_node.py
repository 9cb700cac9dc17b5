"""A simulated node and its GPUs: healthy habits, and the knobs by which failures show.

It publishes what a real agent would see: gauges at every tick, counters when they change, inventory.
"""

from __future__ import annotations

import math
import struct
import uuid
from random import Random

from producers.source import Observed
from schemas import fields, frames, records

GPUS_PER_NODE = 8
NODES_PER_RACK = 4
TICK_MS = 1000
FRAME_TICKS = 5
MODEL = "NVIDIA H100 80GB HBM3"
DRIVER = "580.82.07"
PCI_BUSES = ("18", "2a", "3a", "5d", "9a", "ab", "ba", "db")

GAUGES = (
    fields.SM_CLOCK,
    fields.MEM_CLOCK,
    fields.CLOCK_EVENT_REASONS,
    fields.MEMORY_TEMP,
    fields.GPU_TEMP,
    fields.GPU_TEMP_MARGIN,
    fields.POWER,
    fields.POWER_LIMIT,
)
COUNTERS = (
    fields.PCIE_REPLAY_COUNTER,
    fields.ECC_SBE_VOLATILE,
    fields.ECC_DBE_VOLATILE,
    fields.ECC_SBE_AGGREGATE,
    fields.REMAPPED_UNCORRECTABLE,
    fields.REMAPPED_CORRECTABLE,
    fields.ROW_REMAP_FAILURE,
    fields.ROW_REMAP_PENDING,
    fields.NVLINK_CRC_FLIT_TOTAL,
    fields.NVLINK_REPLAY_TOTAL,
    fields.NVLINK_RECOVERY_TOTAL,
    *fields.NVLINK_CRC_FLIT,
    fields.THERMAL_VIOLATION,
    fields.MEMORY_TEMP_MAX,
    fields.PCIE_GENERATION_MAX,
    fields.PCIE_WIDTH_MAX,
    fields.PCIE_GENERATION,
    fields.PCIE_WIDTH,
    fields.FABRIC_MANAGER_STATUS,
    fields.RECOVERY_ACTION,
)
_ROW = {field: at for at, field in enumerate(COUNTERS)}

# H100 SXM. Under load the power limit, not the temperature, sets the clock of a healthy GPU.
POWER_LIMIT_W = 700.0
SM_CLOCK_MAX_MHZ, SM_CLOCK_IDLE_MHZ, MEM_CLOCK_MHZ = 1980, 345, 2619
APPLICATION_CLOCK_MHZ = 1755
TEMP_MAX_C = 87  # operating limit: field 153 is the distance to it
SW_THERMAL_C = 84
IDLE, APPLICATION_CLOCKS, SW_POWER_CAP, SW_THERMAL, HW_THERMAL = 0x1, 0x2, 0x4, 0x20, 0x40
STEADY = {  # of a healthy H100 SXM
    fields.MEMORY_TEMP_MAX: 95,
    fields.PCIE_GENERATION_MAX: 5,
    fields.PCIE_WIDTH_MAX: 16,
    fields.PCIE_GENERATION: 5,
    fields.PCIE_WIDTH: 16,
    fields.FABRIC_MANAGER_STATUS: 3,  # joined
}
NS = 1_000_000_000
HEATING_S, OVERHEATING_S = 180.0, 60.0  # time constants

_BLANK = (frames.NAN,) * len(GAUGES)
_NOISE_SEED = Random("noise")
_NOISE = [_NOISE_SEED.gauss(0.0, 1.0) for _ in range(1021)]  # a prime: no phase of it repeats with the frames


class SimulatedGpu:
    """One GPU. Failures set `overheated_c`, `lost`, and count errors through its node."""

    def __init__(self, node: SimulatedNode, column: int, number: int, random: Random) -> None:
        self.node = node
        self.column = column
        self.bdf = f"0000:{PCI_BUSES[column]}:00"
        self.uuid = f"GPU-{uuid.UUID(int=random.getrandbits(128), version=4)}"
        self.serial = str(random.randrange(1_650_000_000_000, 1_659_999_999_999))
        self.id = records.Gpu(uuid=self.uuid, bdf=self.bdf)
        self.overheated_c: float | None = None
        self.lost = False  # on the bus no more: the driver has no value for any field
        self._airflow_c = random.uniform(-3.0, 3.0)
        self._phase = number * 131
        self._from_c = self._towards_c = self._idle_c = 40.0 + self._airflow_c
        self._since = 0
        self._heating_s = HEATING_S

    def heat(self, now: int, *, settled: bool = False) -> None:
        """Head for the temperature that load and cooling now lead to."""
        before = self._temperature(now)
        busy_c = 65.0 + self._airflow_c
        self._towards_c = self.overheated_c or (busy_c if self.node.busy else self._idle_c)
        self._from_c = self._towards_c if settled else before
        self._since = now
        self._heating_s = OVERHEATING_S if self.overheated_c else HEATING_S

    def _temperature(self, now: int) -> float:
        return self._towards_c + (self._from_c - self._towards_c) * math.exp((self._since - now) / self._heating_s)

    def throttles(self, now: int) -> bool:
        """Whether heat holds its clocks down at second `now`."""
        return self.node.busy and not self.lost and self._temperature(now) > SW_THERMAL_C

    def gauges(self, now: int) -> tuple[float, ...]:
        """The values of GAUGES at second `now`."""
        if self.lost:
            return _BLANK
        noise = _NOISE[(now * 31 + self._phase) % len(_NOISE)]
        temp = self._temperature(now)
        temp_c = round(temp + 0.4 * noise)
        margin_c = TEMP_MAX_C - temp_c
        if not self.node.busy:
            power_w = round(4.0 * (72.0 + noise)) / 4.0  # quarters of a watt: exact as f4, short as text
            return SM_CLOCK_IDLE_MHZ, MEM_CLOCK_MHZ, IDLE, temp_c + 3, temp_c, margin_c, power_w, POWER_LIMIT_W
        if self.node.application_clocks:
            clock_mhz, reasons, power_w = APPLICATION_CLOCK_MHZ, APPLICATION_CLOCKS, 0.8 * POWER_LIMIT_W + 9.0 * noise
        elif noise > -1.28:  # nine samples in ten
            clock_mhz, reasons, power_w = SM_CLOCK_MAX_MHZ - 15 * round(5.0 + noise), SW_POWER_CAP, POWER_LIMIT_W - 4.0
        else:
            clock_mhz, reasons, power_w = SM_CLOCK_MAX_MHZ, 0, 0.93 * POWER_LIMIT_W + 6.0 * noise
        if temp > SW_THERMAL_C:
            clock_mhz = SM_CLOCK_MAX_MHZ - 15 * round(10.0 * (temp - SW_THERMAL_C) + 10.0)
            reasons = reasons & ~SW_POWER_CAP | SW_THERMAL | (HW_THERMAL if temp >= TEMP_MAX_C else 0)
            power_w *= clock_mhz / SM_CLOCK_MAX_MHZ
        power_w = round(4.0 * power_w) / 4.0
        return clock_mhz, MEM_CLOCK_MHZ, reasons, temp_c + 8, temp_c, margin_c, power_w, POWER_LIMIT_W


class SimulatedNode:
    """One node and the agent on it: samples each second, publishes every few, and at once when a count moves."""

    def __init__(self, number: int, gpus: int, random: Random, *, cluster: str, start_ms: int) -> None:
        self.name = f"node-{number:04d}"
        self.busy = False
        self.silent = False  # failed as a whole: says nothing any more
        self.muted = False  # nobody listens: do only what later frames depend on
        self.application_clocks = random.random() < 0.15
        self.gpus = [SimulatedGpu(self, at, number * GPUS_PER_NODE + at, random) for at in range(gpus)]
        self._cluster = cluster
        self._start_ms = start_ms
        self._number = number
        self._boot = str(uuid.UUID(int=random.getrandbits(128), version=4))
        self._fault_seq = self._telemetry_seq = 0
        # What has been sampled and not yet published:
        self._ticks = 0
        self._samples: list[float] = []  # [tick, gpu, gauge]
        self._first: list[float] = []  # counters at the first tick
        self._changes: dict[int, float] = {}  # at [tick, counter, gpu]
        self._urgent = False
        self._present = list(self.gpus)
        self._counters = [0.0] * (len(COUNTERS) * gpus)
        for gpu in self.gpus:
            for field, value in STEADY.items():
                self._set(gpu, field, value)
            self._set(gpu, fields.PCIE_REPLAY_COUNTER, random.randrange(6))
            if random.random() < 0.05:  # one GPU in twenty has ever had a correctable error
                self._set(gpu, fields.ECC_SBE_AGGREGATE, random.randrange(1, 40))

    def start_job(self, now: int, *, settled: bool = False) -> None:
        self.busy = True
        for gpu in self.gpus:
            gpu.heat(now, settled=settled)

    def end_job(self, now: int) -> None:
        self.busy = False
        for gpu in self.gpus:
            gpu.heat(now)

    def count(self, gpu: SimulatedGpu, field: int, by: int = 1) -> None:
        """Add to a counter of `gpu` (or set a flag, which then is 1)."""
        if gpu in self._present and not gpu.lost:
            self._set(gpu, field, self._counters[self._at(gpu, field)] + by)

    def lose(self, gpu: SimulatedGpu) -> None:
        """From this tick on all fields of `gpu` are blank."""
        for field in COUNTERS:
            self._set(gpu, field, frames.NAN)
        gpu.lost = True

    def drop(self, gpu: SimulatedGpu, now: int) -> list[Observed]:
        """From this tick on `gpu` is not listed any more. Returns the frame of the ticks before it."""
        frame = self.publish(now - 1)
        width, gone = len(self._present), self._present.index(gpu)
        self._counters = [value for at, value in enumerate(self._counters) if at % width != gone]
        del self._present[gone]
        return frame

    def sample(self, now: int) -> None:
        """Take the tick of second `now`."""
        if not self._ticks:
            self._first = self._counters.copy()
            self._changes.clear()
        for gpu in self._present:
            if gpu.overheated_c and gpu.throttles(now):
                held_ns = self._counters[self._at(gpu, fields.THERMAL_VIOLATION)] + NS
                self._set(gpu, fields.THERMAL_VIOLATION, held_ns, urgent=False)
        if not self.muted:
            for gpu in self._present:
                self._samples += gpu.gauges(now)
        self._ticks += 1

    def due(self, now: int) -> bool:
        """Whether to publish after the tick of `now`: in turn, or at once for news of faults."""
        return self._urgent or (now + self._number) % FRAME_TICKS == 0

    def publish(self, last: int) -> list[Observed]:
        """The frame of all ticks since the last one, `last` being its newest."""
        ticks, samples = self._ticks, self._samples
        self._ticks, self._samples, self._urgent = 0, [], False
        if not ticks or not self._present:
            return []
        self._telemetry_seq += 1
        if self.muted:
            return []
        newest_ms = self._start_ms + last * TICK_MS
        width = len(GAUGES)
        gauges = [value for gauge in range(width) for value in samples[gauge::width]]
        changes = sorted(self._changes.items())
        frame = frames.TelemetryFrame(
            cluster=self._cluster,
            node=self.name,
            epoch=self._start_ms,
            seq=self._telemetry_seq,
            gpus=[gpu.id for gpu in self._present],
            ticks=list(range(newest_ms - (ticks - 1) * TICK_MS, newest_ms + 1, TICK_MS)),
            gauges=list(GAUGES),
            counters=list(COUNTERS),
            gauge_values=struct.pack(f"<{len(gauges)}f", *gauges),
            counter_values=struct.pack(f"<{len(self._first)}d", *self._first),
            change_at=struct.pack(f"<{len(changes)}I", *(at for at, _ in changes)),
            change_values=struct.pack(f"<{len(changes)}d", *(value for _, value in changes)),
        )
        return [Observed(self.name, frames.KIND, frames.encode(frame), newest_ms)]

    def inventory(self) -> records.Inventory:
        return records.Inventory(
            ts=self._start_ms,
            cluster=self._cluster,
            node=self.name,
            gpus=[records.GpuInfo(uuid=gpu.uuid, bdf=gpu.bdf, model=MODEL, serial=gpu.serial) for gpu in self._present],
            driver=DRIVER,
            boot=self._boot,
            driver_load=str(self._start_ms),
            rack=f"rack-{self._number // NODES_PER_RACK:03d}",
        )

    def numbered(self, observation: records.Inventory | records.KernelFault) -> Observed:
        """`observation` as this node's agent says it: with the next number of its sequence for faults."""
        self._fault_seq += 1
        observation.epoch, observation.seq = self._start_ms, self._fault_seq
        kind = "kernel" if isinstance(observation, records.KernelFault) else "inventory"
        return Observed(self.name, kind, records.encode(observation), observation.ts)

    def _at(self, gpu: SimulatedGpu, field: int) -> int:
        return _ROW[field] * len(self._present) + self._present.index(gpu)

    def _set(self, gpu: SimulatedGpu, field: int, value: float, *, urgent: bool = True) -> None:
        at = self._at(gpu, field)
        self._counters[at] = value
        if self._ticks:
            self._changes[self._ticks * len(self._counters) + at] = value
        self._urgent |= urgent
