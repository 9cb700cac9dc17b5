"""The failure modes that the simulator injects: how each one shows, second by second.

A failure mode is a generator: it turns the knobs of one GPU and yields the seconds until it acts again. What it
is told of its surroundings is a `Scene`; what it is expected to lead to it states as ground truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple, Protocol

import msgspec

from producers.simulated_node import SimulatedGpu
from schemas import fields
from schemas.states import Action, Condition

Steps = Iterator[int]


class Injected(msgspec.Struct):
    """Ground truth: one injected fault.

    uuid, bdf: empty where the whole node failed. start, end: simulated time in ms; end is None while the fault
    lasts. condition, action: what a correct judge arrives at, at least, within the failure's duration.
    """

    mode: str
    node: str
    uuid: str
    bdf: str
    start: int
    condition: Condition
    action: Action
    end: int | None = None


class Scene(Protocol):
    """What a failure mode can do beside turning the knobs of its GPU."""

    @property
    def now(self) -> int:
        """The simulated second."""

    def inject(self, mode: str, gpu: SimulatedGpu, condition: Condition, action: Action) -> Injected:
        """Note the fault as ground truth."""

    def end(self, fault: Injected) -> None:
        """The fault is over."""

    def kernel(self, gpu: SimulatedGpu, message: str) -> None:
        """The kernel of the GPU's node prints `message`."""

    def drop(self, gpu: SimulatedGpu) -> None:
        """The GPU is not listed by its node any more."""


def correctable_ecc(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """A failing memory cell: 20 to 3,000 correctable errors in bursts, within a quarter of an hour."""
    errors = round(20 * 150**severity)
    fault = scene.inject(
        "correctable-ecc",
        gpu,
        Condition.FAILED if errors > 100 else Condition.WARNING,
        Action.EVICT if errors > 100 else Action.MONITOR,
    )
    while errors > 0:
        burst = min(errors, random.randint(1, 1 + round(60 * severity)))
        errors -= burst
        gpu.node.count(gpu, fields.ECC_SBE_VOLATILE, burst)
        gpu.node.count(gpu, fields.ECC_SBE_AGGREGATE, burst)
        yield random.randint(1, 8)
    gpu.node.count(gpu, fields.REMAPPED_CORRECTABLE)
    scene.end(fault)


def uncorrectable_ecc(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """A double-bit error: counter 311, Xid 48, and the row that waits to be remapped at the next reset."""
    scene.inject("uncorrectable-ecc", gpu, Condition.FAILED, Action.EVICT)
    gpu.node.count(gpu, fields.ECC_DBE_VOLATILE)
    scene.kernel(
        gpu,
        f"NVRM: Xid (PCI:{gpu.bdf}): 48, pid={random.randrange(2000, 99999)}, name=python3, An uncorrectable double"
        " bit error (DBE) has been detected on GPU in the framebuffer"
        f" at partition {random.randrange(10)}, subpartition {random.randrange(2)}.",
    )
    yield 1
    gpu.node.count(gpu, fields.REMAPPED_UNCORRECTABLE)
    gpu.node.count(gpu, fields.ROW_REMAP_PENDING)
    scene.kernel(
        gpu,
        f"NVRM: Xid (PCI:{gpu.bdf}): 63, pid='<unknown>', name=<unknown>, Row Remapper: New row"
        f" (0x{random.getrandbits(36):016x}) marked for remapping, reset gpu to activate.",
    )


def nvlink_crc(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """One bad link: 2 to 200 CRC errors a second for ten minutes, replays, now and then a recovery."""
    fault = scene.inject("nvlink-crc", gpu, Condition.WARNING, Action.MONITOR)
    link = random.choice(fields.NVLINK_CRC_FLIT)
    for _ in range(600):
        errors = 1 + round(random.uniform(0.5, 1.5) * 2 * 100**severity)
        gpu.node.count(gpu, link, errors)
        gpu.node.count(gpu, fields.NVLINK_CRC_FLIT_TOTAL, errors)
        gpu.node.count(gpu, fields.NVLINK_REPLAY_TOTAL, errors)
        if random.random() < 0.02:
            gpu.node.count(gpu, fields.NVLINK_RECOVERY_TOTAL)
        yield 1
    scene.end(fault)


def thermal(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """Lost cooling under load: the GPU heats up beyond its limit, its clocks fall, thermal reasons show."""
    fault = scene.inject("thermal-throttling", gpu, Condition.DEGRADED, Action.DRAIN)
    gpu.overheated_c = 89.0 + 2.0 * severity
    gpu.node.start_job(scene.now)
    yield random.randint(900, 1800)
    gpu.overheated_c = None
    gpu.heat(scene.now)
    scene.end(fault)


def page_fault(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """A hang after an illegal access: Xid 31."""
    scene.inject("hang-page-fault", gpu, Condition.FAILED, Action.DRAIN)
    scene.kernel(
        gpu,
        f"NVRM: Xid (PCI:{gpu.bdf}): 31, pid={random.randrange(2000, 99999)}, name=python3, Ch 00000012, intr"
        " 00000000. MMU Fault: ENGINE GRAPHICS GPC3 GPCCLIENT_T1_3 faulted @"
        f" 0x{random.getrandbits(15):04x}_{random.getrandbits(32):08x}."
        " Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_READ",
    )
    yield from ()


def off_the_bus(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """Xid 79: at once all its fields are blank, and half a minute later its node lists it no more."""
    scene.inject("hang-off-the-bus", gpu, Condition.FAILED, Action.REMOVE_NODE)
    gpu.node.lose(gpu)
    scene.kernel(gpu, f"NVRM: GPU {gpu.bdf}.0: GPU has fallen off the bus.")
    scene.kernel(gpu, f"NVRM: Xid (PCI:{gpu.bdf}): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.")
    yield 30
    scene.drop(gpu)


def pcie_replay(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """A bad slot or riser: 1 to 20 replays a second for five minutes; a sound link stays below 31 a minute."""
    fault = scene.inject("pcie-replay", gpu, Condition.WARNING, Action.MONITOR)
    for _ in range(300):
        gpu.node.count(gpu, fields.PCIE_REPLAY_COUNTER, 1 + round(random.uniform(0.0, 2.0) * 20**severity))
        yield 1
    scene.end(fault)


def dead_node(scene: Scene, gpu: SimulatedGpu, random: Random, severity: float) -> Steps:
    """Complete failure: not a word any more, of none of the node's GPUs."""
    fault = scene.inject("complete-failure", gpu, Condition.FAILED, Action.EVICT)
    fault.uuid = fault.bdf = ""
    gpu.node.silent = True
    yield from ()


class FailureMode(NamedTuple):
    """steps: takes (scene, gpu, random, severity from 0 to 1). yearly: how often in 1,000 GPUs and a year.

    opens_at_s: when the scripted opening shows it.
    """

    steps: Callable[[Scene, SimulatedGpu, Random, float], Steps]
    yearly: float
    opens_at_s: int


# In the order of the opening, which shows each mode once: slow ones first, and last the one that may take all.
FAILURE_MODES = (
    FailureMode(thermal, yearly=365, opens_at_s=10),
    FailureMode(correctable_ecc, yearly=52, opens_at_s=40),
    FailureMode(nvlink_crc, yearly=52, opens_at_s=80),
    FailureMode(pcie_replay, yearly=2, opens_at_s=120),
    FailureMode(off_the_bus, yearly=6, opens_at_s=180),
    FailureMode(uncorrectable_ecc, yearly=12, opens_at_s=240),
    FailureMode(page_fault, yearly=6, opens_at_s=300),
    FailureMode(dead_node, yearly=4, opens_at_s=360),
)
