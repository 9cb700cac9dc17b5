"""The three suites and the storm. Each returns what it found, and prints a table of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from processors.node import NodeTask
from processors.testing import Observations, gpu
from producers import faults
from producers.faults import Injected
from schemas import fields
from schemas.records import Eviction
from tests.judge import modes
from tests.judge.bench import Bench, at
from tests.judge.habits import DAY_S, add_habits, pause
from tests.judge.repairs import repair, repair_s
from tests.judge.world import Steps, World

Mode = Callable[[Any, Any, Random, float], Steps]
ALL_MODES: tuple[Mode, ...] = (*(mode.steps for mode in faults.FAILURE_MODES), *modes.FURTHER)
SPREAD_S, AFTER_S = 600, 2400  # faults begin within the first; the slowest to show take most of the second

# Per 1,000 GPUs and day: Delta and Llama-3 (uncorrectables, Xids, lost GPUs), the product specification's table.
CALIBRATED: tuple[tuple[Mode, float], ...] = (
    (faults.page_fault, 19.6),
    (faults.uncorrectable_ecc, 0.19),
    (modes.uncontained, 0.21),
    (modes.remap_failed, 0.09),
    (modes.gsp_timeout, 0.03),
    (faults.off_the_bus, 0.167),
    (faults.correctable_ecc, 1 / 7),
    (faults.nvlink_crc, 1 / 7),
    (faults.thermal, 1.0),
    (faults.pcie_replay, 2 / 365),
    (faults.dead_node, 4 / 365),
    (modes.gpu_stopped, 12 / 365),
    (modes.silent_count, 0.0068),
)


class Detection(NamedTuple):
    mode: str
    injected: int
    seconds: list[float]  # of each that was detected, rising

    @property
    def p99_s(self) -> float:
        return self.seconds[min(len(self.seconds) - 1, int(0.99 * len(self.seconds)))]


def detect(mode: Mode, injections: int, seed: int = 1) -> Detection:
    """Inject one failure mode into as many nodes, at random moments and severities, in everyday noise."""
    world = World(injections + 4, seed)
    add_habits(world, restarts=False)
    random = world.random(mode.__name__)
    for node in world.nodes[:injections]:
        begin_s = random.randint(60, SPREAD_S)
        world.add(mode(world, random.choice(node.gpus), random, random.random()), begin_s)
    world.attend(SPREAD_S + AFTER_S)
    bench = Bench()
    bench.run(world.lives(SPREAD_S + AFTER_S))
    assert not bench.dead_letters, bench.dead_letters[0].value
    found = [bench.detected_s(fault) for fault in world.truth]
    return Detection(world.truth[0].mode, len(world.truth), sorted(each for each in found if each is not None))


def detection_table(injections: int) -> list[Detection]:
    print(f"\n{'failure mode':24}{'injected':>9}{'detected':>9}{'p50 s':>8}{'p99 s':>8}{'max s':>8}")
    found = []
    for mode in ALL_MODES:
        each = detect(mode, injections)
        found.append(each)
        times = each.seconds
        shown = (times[len(times) // 2], each.p99_s, times[-1]) if times else (float("nan"),) * 3
        print(
            f"{each.mode:24}{each.injected:9}{len(times):9}" + "".join(f"{value:8.1f}" for value in shown), flush=True
        )
    return found


def healthy_fleet(nodes: int, days: float, seed: int = 7) -> Bench:
    """Habits, and no fault at all."""
    world = World(nodes, seed)
    add_habits(world)
    return _lived(world, days, "healthy, with all habits")


def failing_fleet(nodes: int, days: float, seed: int = 11, rate: float = 1.0) -> tuple[World, Bench]:
    """Habits, and failures as often as the published rates say."""
    world = World(nodes, seed)
    add_habits(world)
    for mode, daily in CALIBRATED:
        world.add(_failures(world, mode, rate * daily, world.random(mode.__name__)), 0)
    return world, _lived(world, days, "failing at the published rates")


def _failures(world: World, mode: Mode, daily: float, random: Random) -> Steps:
    while True:
        yield pause(random, daily * len(world.gpus) / 1000)
        victim = random.choice(world.gpus)
        if victim in victim.node.present and not (victim.lost or victim.node.silent or victim.node.paused):
            world.add(mode(world, victim, random, random.random()), world.now)


def _lived(world: World, days: float, what: str) -> Bench:
    bench, start = Bench(), time.monotonic()
    random = world.random("repairs")

    def repair_later(case: Eviction) -> None:
        world.add(repair(world, case), world.now + repair_s(case, random))

    bench.run(world.lives(int(days * DAY_S)), repair_later)
    took_s = time.monotonic() - start
    print(f"\n{len(world.gpus)} GPUs, {days:g} days, {what}: {bench.records} records in {took_s:.0f} s")
    return bench


def cases_table(world: World | None, bench: Bench) -> None:
    """Each alert with the fault that was injected there, if any."""
    causes = Counter(case.fault for case in bench.cases.values())
    print("cases opened: " + (", ".join(f"{fault} {count}" for fault, count in causes.most_common()) or "none"))
    for case in bench.alerts():
        fault = cause_of(world, case) if world else None
        truth = f"{fault.mode}, since {at(fault.start)}" if fault else "NOTHING WAS INJECTED"
        print(f"  {at(case.opened)}  {case.node} {case.uuid}  {case.cause[:60]:60}  <- {truth}")


def cause_of(world: World, case: Eviction) -> Injected | None:
    """What was injected there last, within the day."""
    faults = [
        fault
        for fault in world.truth
        if fault.node == case.node and fault.uuid in ("", case.uuid) and 0 <= case.opened - fault.start < DAY_S * 1000
    ]
    return faults[-1] if faults else None


def untrue(world: World, bench: Bench) -> list[str]:
    """Alerts on GPUs that nothing had happened to."""
    return [
        f"{at(case.opened)} {case.node} {case.uuid}: {case.cause}"
        for case in bench.alerts()
        if cause_of(world, case) is None
    ]


class Storm(NamedTuple):
    """seconds: of processor time to take all lines. delayed: batches between the other GPU's fault and its verdict."""

    lines: int
    seconds: float
    xids: int
    delayed: int


def storm(lines: int, per_batch: int = 1000) -> Storm:
    """One GPU's kernel repeats one Xid 10,000 times a second; in the middle another GPU has a fault of its own."""
    told = Observations()
    told.frame("n1", 0.0, {fields.GPU_TEMP: [50.0]}).frame("n2", 0.0, {fields.GPU_TEMP: [50.0]})
    for number in range(lines):
        told.fault("n1", 1.0 + number / 10_000, 95, 0, message="Uncontained: FBHUB (0x1). RST: Yes, D-RST: No")
        if number == lines // 2:
            told.fault("n2", 1.0 + number / 10_000, 48, 0)
            other = len(told.records) - 1
    task, xids, verdict = NodeTask(), 0, None
    start = time.process_time()
    for first in range(0, len(told.records), per_batch):
        outputs = task.step(told.records[first : first + per_batch])
        xids += sum(output.topic == "xids" for output in outputs)
        if verdict is None and any(
            output.kind == "condition" and output.key == gpu("n2").uuid and output.offset >= other for output in outputs
        ):
            verdict = first // per_batch
    seconds = time.process_time() - start
    assert verdict is not None
    return Storm(lines, seconds, xids, verdict - other // per_batch)
