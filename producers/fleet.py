"""A simulated fleet: nodes, their jobs, harmless errors, and failures, in simulated seconds.

Equal arguments give equal bytes: every habit and every failure draws from its own seeded generator, and nothing
is taken from this machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from random import Random

from producers.faults import FAILURE_MODES, FailureMode, Injected, Steps
from producers.kernel_faults import fault_of
from producers.simulated_node import GPUS_PER_NODE, TICK_MS, SimulatedGpu, SimulatedNode
from producers.source import Observed
from schemas import fields, records
from schemas.kernel_lines import LineReader
from schemas.states import Action, Condition

YEAR_S = 365 * 86_400
START_MS = 1_767_225_600_000  # 2026-01-01
REPLAYS_PER_GPU_AND_DAY = 20.0
CORRECTABLE_PER_GPU_AND_DAY = 0.15


class Fleet:
    """The simulated world. `advance` lives through one second and returns what the nodes said in it.

    failure_rate: 1.0 = as often as real fleets fail, 0.0 = never. opening: begin with one failure of each mode.
    """

    def __init__(
        self,
        gpus: int,
        *,
        seed: int = 0,
        start_ms: int = START_MS,
        cluster: str = "default",
        failure_rate: float = 1.0,
        opening: bool = True,
    ) -> None:
        if gpus < 1:
            raise ValueError("a simulated fleet needs at least one GPU")
        self.now = -1
        self.truth: list[Injected] = []
        self._start_ms = start_ms
        self._cluster = cluster
        self._said: list[Observed] = []
        self._agenda: list[tuple[int, int, Steps]] = []  # second, order of entry, what goes on then
        self._entries = 0
        self._reader = LineReader()
        self.nodes = [
            SimulatedNode(
                number,
                min(GPUS_PER_NODE, gpus - first),
                Random(f"{seed}/node/{number}"),
                cluster=cluster,
                start_ms=start_ms,
            )
            for number, first in enumerate(range(0, gpus, GPUS_PER_NODE))
        ]
        self._gpus = [gpu for node in self.nodes for gpu in node.gpus]
        for number, node in enumerate(self.nodes):
            self._add(self._jobs(node, Random(f"{seed}/jobs/{number}")))
        for field, daily in (
            (fields.PCIE_REPLAY_COUNTER, REPLAYS_PER_GPU_AND_DAY),
            (fields.ECC_SBE_VOLATILE, CORRECTABLE_PER_GPU_AND_DAY),
        ):
            self._add(self._harmless(field, daily, Random(f"{seed}/harmless/{field}")))
        if opening:
            victims = self._victims(Random(f"{seed}/opening"))
            for mode, gpu in zip(FAILURE_MODES, victims, strict=False):  # a tiny fleet has fewer GPUs than modes
                random = Random(f"{seed}/opening/{mode.steps.__name__}")
                self._add(mode.steps(self, gpu, random, 1.0), mode.opens_at_s)
        if failure_rate > 0.0:
            for mode in FAILURE_MODES:
                self._add(self._failures(mode, failure_rate, Random(f"{seed}/{mode.steps.__name__}")))

    @property
    def now_ms(self) -> int:
        return self._start_ms + self.now * TICK_MS

    def advance(self, *, muted: bool = False) -> list[Observed]:
        """Live through the next second. Muted, nothing is said, and it passes much faster."""
        self.now += 1
        self._said = []
        for node in self.nodes:
            node.muted = muted
            if self.now == 0:
                self._said.append(node.numbered(node.inventory()))
        while self._agenda[0][0] <= self.now:
            steps = heapq.heappop(self._agenda)[2]
            pause = next(steps, None)
            if pause is not None:
                self._add(steps, self.now + pause)
        for node in self.nodes:
            if not node.silent:
                node.sample(self.now)
                if node.due(self.now):
                    self._said += node.publish(self.now)
        if muted:
            return []
        if not self._said:
            tick = records.Tick(ts=self.now_ms, cluster=self._cluster)
            return [Observed("", "tick", records.encode(tick), self.now_ms)]
        return self._said

    # What failure modes can do (`producers.faults.Scene`):

    def inject(self, mode: str, gpu: SimulatedGpu, condition: Condition, action: Action) -> Injected:
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
        return fault

    def end(self, fault: Injected) -> None:
        fault.end = self.now_ms

    def kernel(self, gpu: SimulatedGpu, message: str) -> None:
        if gpu.node.silent:
            return
        moment = datetime.fromtimestamp(self.now_ms / 1000, UTC).isoformat(timespec="microseconds")
        line = f"{moment.replace('.', ',')} {message}"
        for event in self._reader.feed(line):
            fault = fault_of(event, ts=self.now_ms, node=gpu.node.name, cluster=self._cluster, source="simulator")
            fault.uuid = gpu.uuid
            self._said.append(gpu.node.numbered(fault))

    def drop(self, gpu: SimulatedGpu) -> None:
        if not gpu.node.silent:
            self._said += gpu.node.drop(gpu, self.now)

    # What goes on in the fleet:

    def _add(self, steps: Steps, at: int = 0) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (at, self._entries, steps))

    def _jobs(self, node: SimulatedNode, random: Random) -> Steps:
        """Jobs take whole nodes; most of the time there is one."""
        if random.random() < 0.85:
            node.start_job(self.now, settled=True)
            yield random.randint(300, 7200)
        while True:
            while any(gpu.overheated_c for gpu in node.gpus):  # it throttles under load, so the load stays
                yield 60
            node.end_job(self.now)
            yield random.randint(60, 900)
            node.start_job(self.now)
            yield random.randint(600, 7200)

    def _harmless(self, field: int, daily: float, random: Random) -> Steps:
        """Single errors, as every sound fleet has them."""
        while True:
            yield _pause(random, daily * len(self._gpus) / 86_400)
            gpu = random.choice(self._gpus)
            if not gpu.node.silent:
                gpu.node.count(gpu, field)
                if field == fields.ECC_SBE_VOLATILE:
                    gpu.node.count(gpu, fields.ECC_SBE_AGGREGATE)

    def _failures(self, mode: FailureMode, rate: float, random: Random) -> Steps:
        while True:
            yield _pause(random, rate * mode.yearly * len(self._gpus) / 1000 / YEAR_S)
            gpu = random.choice(self._gpus)
            if not (gpu.lost or gpu.node.silent):
                self._add(mode.steps(self, gpu, random, random.random()), self.now)

    def _victims(self, random: Random) -> Iterator[SimulatedGpu]:
        """A different GPU for each failure mode, on as many nodes as there are; for the last one a whole node."""
        nodes = self.nodes[:-1] or self.nodes
        shuffled = [random.sample(node.gpus, len(node.gpus)) for node in random.sample(nodes, len(nodes))]
        single = [gpu for column in zip_longest(*shuffled) for gpu in column if gpu is not None]
        yield from single[: len(FAILURE_MODES) - 1]
        yield self.nodes[-1].gpus[0]


def _pause(random: Random, per_second: float) -> int:
    return 1 + int(random.expovariate(per_second))
