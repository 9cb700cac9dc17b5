"""A fleet in simulated time, fast enough for months: all GPUs' samples are made at once, as arrays.

While something happens its nodes publish every five seconds, and at once where a fault shows, as real agents do. In
quiet hours time passes in steps of a minute: credited silence then grows slower than on a real log, and nothing else
differs. Processes (habits, failures) are generators that yield the seconds until they act again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from processors.testing import START_MS
from producers.faults import Injected
from producers.kernel_faults import fault_of
from producers.simulated_node import COUNTERS, DRIVER, GAUGES, MODEL, PCI_BUSES, POWER_LIMIT_W
from schemas import fields, frames, records
from schemas.kernel_lines import LineReader
from schemas.log import Record
from schemas.records import Gpu
from schemas.states import Action, Condition

Array = npt.NDArray[Any]
Steps = Iterator[int]

GPUS = 8  # of a node
PUBLISH_S = 5
QUIET_S = 60
VOLATILE = [field for field in COUNTERS if fields.FIELDS[field].kind is fields.Kind.COUNTER]
HEATING_S, OVERHEATING_S = 180.0, 60.0  # time constants
TEMP_MAX_C, SW_THERMAL_C = 87.0, 84.0
IDLE, APPLICATION_CLOCKS, SW_POWER_CAP, HW_SLOWDOWN, SYNC_BOOST = 0x1, 0x2, 0x4, 0x8, 0x10
SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x20, 0x40, 0x80
NOISE = np.array([Random(f"noise/{at}").gauss(0.0, 1.0) for at in range(1021)])

_ROW = {field: at for at, field in enumerate(COUNTERS)}
_REMAPS = [
    _ROW[field]
    for field in (
        fields.REMAPPED_UNCORRECTABLE,
        fields.REMAPPED_CORRECTABLE,
        fields.ROW_REMAP_FAILURE,
        fields.ROW_REMAP_PENDING,
    )
]


class Frame(msgspec.Struct, kw_only=True):
    """A telemetry frame (`schemas.frames`) whose list of GPUs is encoded already."""

    node: str
    epoch: int
    seq: int
    gpus: msgspec.Raw
    ticks: list[int]
    gauges: msgspec.Raw
    counters: msgspec.Raw
    gauge_values: memoryview
    counter_values: memoryview


_pack = msgspec.msgpack.Encoder().encode
_GAUGES, _COUNTERS = (msgspec.Raw(_pack(list(each))) for each in (GAUGES, COUNTERS))


class Handle:
    """One GPU, with the knobs that `producers.faults` turns."""

    def __init__(self, node: Node, at: int) -> None:
        self.node = node
        self.at = at
        self.bdf = f"0000:{PCI_BUSES[at]}:00"
        self.uuid = f"GPU-{node.number:06d}-{at}"
        self.id = Gpu(uuid=self.uuid, bdf=self.bdf)
        self.lost = False

    @property
    def overheated_c(self) -> float | None:
        value = float(self.node.world.overheated[self.node.number, self.at])
        return None if np.isnan(value) else value

    @overheated_c.setter
    def overheated_c(self, value: float | None) -> None:
        self.node.world.overheated[self.node.number, self.at] = np.nan if value is None else value
        self.heat(self.node.world.now)

    def heat(self, now: int) -> None:
        self.node.world.head_for(self.node.number)


class Node:
    """One node and its agent; `silent` is a dead one."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.name = f"node-{number:04d}"
        self.gpus = [Handle(self, at) for at in range(GPUS)]
        self.present = list(self.gpus)
        self.epoch, self.seq, self.fault_seq = START_MS, 0, 0
        self.boot, self.load, self.driver, self.mig = "boot-0", 0, DRIVER, False
        self.silent = False
        self.paused = False  # the agent lives, but has no samples (a source that fails)
        self.raw = msgspec.Raw(_pack([gpu.id for gpu in self.gpus]))

    def count(self, gpu: Handle, field: int, by: int = 1) -> None:
        if gpu in self.present and not gpu.lost:
            self.world.counters[self.number, _ROW[field], gpu.at] += by
            self.world.urgent.add(self.number)

    def lose(self, gpu: Handle) -> None:
        """All its fields are blank from now on."""
        gpu.lost = True
        self.world.blank[self.number, gpu.at] = True
        self.world.counters[self.number, :, gpu.at] = np.nan
        self.world.urgent.add(self.number)

    def start_job(self, now: int, *, settled: bool = False) -> None:
        self.world.busy[self.number] = True
        self.world.head_for(self.number, settled=settled)

    def end_job(self, now: int) -> None:
        self.world.busy[self.number] = False
        self.world.head_for(self.number)

    def list_gpus(self, gpus: Sequence[Handle]) -> None:
        self.present = list(gpus)
        self.raw = msgspec.Raw(_pack([gpu.id for gpu in gpus]))

    def inventory(self) -> None:
        infos = [
            records.GpuInfo(uuid=gpu.uuid, bdf=gpu.bdf, model=MODEL, serial=gpu.uuid[4:], mig=self.mig)
            for gpu in self.present
        ]
        self.say(
            records.Inventory(
                ts=self.world.now_ms,
                node=self.name,
                gpus=infos,
                driver=self.driver,
                boot=self.boot,
                driver_load=f"load-{self.load}",
                rack=f"rack-{self.number // 4:03d}",
            )
        )

    def restart_counters(self) -> None:
        """A driver that is loaded again, a reset, a reboot: volatile counters begin at zero."""
        for field in VOLATILE:
            counts = self.world.counters[self.number, _ROW[field]]
            counts[~np.isnan(counts)] = 0.0

    def restart_agent(self) -> None:
        self.epoch, self.seq, self.fault_seq = self.world.now_ms, 0, 0

    def say(self, observation: records.Observation) -> None:
        """An observation of this node's agent, numbered."""
        if self.silent:
            return
        self.fault_seq += 1
        told = msgspec.structs.replace(observation, epoch=self.epoch, seq=self.fault_seq)
        self.world.append(self.name, str(type(told).__struct_config__.tag), records.encode(told))


class World:
    """The fleet. `lives(until_s)` yields the records of the node stage's log, batch after batch; it is a
    `producers.faults.Scene` as well.
    """

    def __init__(self, nodes: int, seed: int) -> None:
        self.seed = seed
        self.now = 0
        self.truth: list[Injected] = []
        self.urgent: set[int] = set()
        draw = np.random.Generator(np.random.PCG64(seed))
        self.counters = np.zeros((nodes, len(COUNTERS), GPUS))
        self.counters[:, _ROW[fields.PCIE_REPLAY_COUNTER]] = draw.integers(0, 6, (nodes, GPUS))
        ever = draw.random((nodes, GPUS)) < 0.05  # one GPU in twenty has ever had a correctable error
        self.counters[:, _ROW[fields.ECC_SBE_AGGREGATE]] = np.where(ever, draw.integers(1, 40, (nodes, GPUS)), 0)
        self.blank = np.zeros((nodes, GPUS), bool)
        self.busy = np.zeros(nodes, bool)
        self.application_clocks = draw.random(nodes) < 0.15
        self.sync_boost = draw.random(nodes) < 0.1
        self.braked = np.zeros((nodes, GPUS), bool)
        self.overheated = np.full((nodes, GPUS), np.nan)
        self._airflow = draw.uniform(-3.0, 3.0, (nodes, GPUS))
        self._towards = 40.0 + self._airflow
        self._from = self._towards.copy()
        self._since = np.zeros(nodes)
        self._phase = (np.arange(nodes * GPUS) * 131).reshape(nodes, GPUS)
        self.nodes = [Node(self, number) for number in range(nodes)]
        self.gpus = [gpu for node in self.nodes for gpu in node.gpus]
        self._agenda: list[tuple[int, int, Steps]] = []
        self._entries = 0
        self._attention_until = 0
        self._offset = 0
        self._said: list[Record] = []
        self._reader = LineReader()
        for node in self.nodes:
            node.inventory()

    @property
    def now_ms(self) -> int:
        return START_MS + self.now * 1000

    def random(self, what: str) -> Random:
        return Random(f"{self.seed}/{what}")

    def add(self, steps: Steps, at: int) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (at, self._entries, steps))

    def attend(self, seconds: int) -> None:
        """Something happens: for so long, time passes second by second."""
        self._attention_until = max(self._attention_until, self.now + seconds)

    def append(self, key: str, kind: str, value: bytes) -> None:
        self._said.append(Record(self._offset, self.now_ms, key, kind, value))
        self._offset += 1

    def lives(self, until_s: int) -> Iterator[list[Record]]:
        while self.now < until_s:
            while self._agenda and self._agenda[0][0] <= self.now:
                steps = heapq.heappop(self._agenda)[2]
                pause = next(steps, None)
                if pause is not None:
                    self.add(steps, self.now + pause)
            attentive = self.now < self._attention_until
            self._publish(attentive)
            if attentive and not self._said:
                self.append("", "tick", records.encode(records.Tick(ts=self.now_ms)))
            said, self._said = self._said, []
            if said:
                yield said
            next_s = self.now + (1 if attentive else QUIET_S - self.now % QUIET_S)
            if self._agenda and not attentive:
                next_s = min(next_s, max(self._agenda[0][0], self.now + 1))
            self.now = next_s

    # What failure modes can do (`producers.faults.Scene`):

    def inject(self, mode: str, gpu: Any, condition: Condition, action: Action) -> Injected:
        fault = Injected(
            mode=mode,
            node=gpu.node.name,
            uuid=gpu.uuid,
            bdf=gpu.bdf,
            start=self.now_ms,
            condition=condition,
            action=action,
        )
        self.truth.append(fault)
        self.attend(120)
        return fault

    def end(self, fault: Injected) -> None:
        fault.end = self.now_ms

    def kernel(self, gpu: Any, message: str) -> None:
        node = gpu.node
        for event in self._reader.feed(message) + self._reader.flush():
            fault = fault_of(event, ts=self.now_ms, node=node.name, cluster="default", source="kmsg")
            if fault.fault != "sxid":
                fault.uuid = gpu.uuid
            node.say(fault)
        self.attend(5)

    def drop(self, gpu: Any) -> None:
        """Its node lists the GPU no more."""
        node = gpu.node
        node.list_gpus([each for each in node.present if each is not gpu])
        node.inventory()

    # Samples:

    def head_for(self, number: int, *, settled: bool = False) -> None:
        """The temperatures that load and cooling of a node now lead to."""
        self._from[number] = self._temperatures(np.array([number]))[0]
        target = (65.0 if self.busy[number] else 40.0) + self._airflow[number]
        hot = self.overheated[number]
        self._towards[number] = np.where(np.isnan(hot), target, hot)
        if settled:
            self._from[number] = self._towards[number]
        self._since[number] = self.now

    def _temperatures(self, at: Array) -> Array:
        constant = np.where(np.isnan(self.overheated[at]), HEATING_S, OVERHEATING_S)
        fading = np.exp((self._since[at, None] - self.now) / constant)
        return np.asarray(self._towards[at] + (self._from[at] - self._towards[at]) * fading)

    def _publish(self, attentive: bool) -> None:
        if attentive:
            due = [
                node for node in self.nodes if (self.now + node.number) % PUBLISH_S == 0 or node.number in self.urgent
            ]
        else:
            due = self.nodes if self.now % QUIET_S == 0 else []
        due = [node for node in due if not (node.silent or node.paused) and node.present]
        self.urgent.clear()
        if not due:
            return
        at = np.array([node.number for node in due])
        gauges = self._gauges(at)
        counters = self.counters[at]
        gauge_bytes, counter_bytes = memoryview(gauges.tobytes()), memoryview(counters.tobytes())
        wide, tall = 4 * len(GAUGES) * GPUS, 8 * len(COUNTERS) * GPUS
        for place, node in enumerate(due):
            gauge_values = gauge_bytes[place * wide : (place + 1) * wide]
            counter_values = counter_bytes[place * tall : (place + 1) * tall]
            if len(node.present) < GPUS:
                columns = [gpu.at for gpu in node.present]
                gauge_values = memoryview(gauges[place][:, columns].tobytes())
                counter_values = memoryview(counters[place][:, columns].tobytes())
            node.seq += 1
            frame = Frame(
                node=node.name,
                epoch=node.epoch,
                seq=node.seq,
                gpus=node.raw,
                ticks=[self.now_ms],
                gauges=_GAUGES,
                counters=_COUNTERS,
                gauge_values=gauge_values,
                counter_values=counter_values,
            )
            self.append(node.name, frames.KIND, _pack(frame))

    def _gauges(self, at: Array) -> Array:
        """[node, gauge, GPU], float32, in the order of GAUGES."""
        noise = NOISE[(self.now * 31 + self._phase[at]) % len(NOISE)]
        temp = self._temperatures(at)
        temp_c = np.rint(temp + 0.4 * noise)
        busy = np.broadcast_to(self.busy[at, None], noise.shape)
        application = self.application_clocks[at, None] & busy
        capped = busy & ~application & (noise > -1.28)  # nine samples in ten
        clock = np.select([~busy, application, capped], [345.0, 1755.0, 1980 - 15 * np.rint(5 + noise)], 1980.0)
        reasons = np.select([~busy, application, capped], [IDLE, APPLICATION_CLOCKS, SW_POWER_CAP], 0)
        power = np.select(
            [~busy, application, capped], [72 + noise, 560 + 9 * noise, POWER_LIMIT_W - 4], 650 + 6 * noise
        )
        reasons = np.where(self.sync_boost[at, None] & busy & (noise > 1.0), reasons | SYNC_BOOST, reasons)
        reasons = np.where(noise > 2.2, reasons | HW_SLOWDOWN, reasons)  # set for a moment when the P-state changes
        hot = busy & (temp > SW_THERMAL_C)
        clock = np.where(hot, 1980 - 15 * np.rint(10 * (temp - SW_THERMAL_C) + 10), clock)
        thermal = SW_THERMAL | np.where(temp >= TEMP_MAX_C, HW_THERMAL, 0)
        reasons = np.where(hot, (reasons & ~SW_POWER_CAP) | thermal, reasons)
        braked = self.braked[at] & busy
        clock, reasons = np.where(braked, 990, clock), np.where(braked, reasons | POWER_BRAKE, reasons)
        power = np.where(hot | braked, power * clock / 1980, power)
        values = {
            fields.SM_CLOCK: clock,
            fields.MEM_CLOCK: np.full(noise.shape, 2619.0),
            fields.CLOCK_EVENT_REASONS: reasons,
            fields.MEMORY_TEMP: temp_c + np.where(busy, 8, 3),
            fields.GPU_TEMP: temp_c,
            fields.GPU_TEMP_MARGIN: TEMP_MAX_C - temp_c,
            fields.POWER: np.rint(4 * power) / 4,
            fields.POWER_LIMIT: np.full(noise.shape, POWER_LIMIT_W),
        }
        gauges = np.stack([values[field] for field in GAUGES], axis=1).astype("<f4")
        gauges[np.broadcast_to(self.blank[at, None], gauges.shape)] = np.nan
        return gauges

    def hide_remaps(self, node: Node, hidden: bool) -> None:
        """Remapped rows cannot be asked for while MIG instances exist."""
        self.counters[node.number, _REMAPS] = np.nan if hidden else 0.0
        self.urgent.add(node.number)
