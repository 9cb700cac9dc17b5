"""The workflow of evictions in any history, against a world that does its worst: what never happens.

GPU_VITALS_HISTORIES says how many histories are lived through (`make chaos` takes very many).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kits import check_cuts
from processors.cluster import ClusterTask
from schemas.records import CommandResult, Operator, Order, Reason, Revalidated, Serving
from schemas.states import Action, Step
from tests.processors.cluster_stage import Stage
from tests.processors.nodes_world import Agent, Watch

HISTORIES = int(os.environ.get("GPU_VITALS_HISTORIES", "200"))
NODE_OF = {"A": "n1", "B": "n1", "C": "n2"}
GPUS = tuple(NODE_OF)
FAULTS: list[dict[str, Any]] = [
    {"reasons": [Reason(signal="temperature", level="evict", cap=0.0, text="95 C")]},
    {"reasons": [Reason(signal="correctable_ecc", level="evict", cap=0.0)]},
    {"hard": True},
    {"hard": True, "evidence": 1},
    {"corruption": True},
    {"hard": True, "action": Action.EVICT_PERMANENTLY},
    {"hard": True, "action": Action.REMOVE_NODE},
    {"reasons": [Reason(signal="maintenance", level="evict", cap=0.0)], "action": Action.DRAIN},
]
ENDS = [("done", ""), ("done", "pass"), ("done", "pass"), ("done", "fail"), ("failed", "tool"), ("indeterminate", "")]
FORGED = [("refused", "signature"), ("refused", "repeated"), ("refused", "node"), ("done", "pass"), ("of tomorrow", "")]
FLOWS: list[dict[str, Any]] = [
    {"enabled": True},
    {"enabled": True, "cool_down_s": 5, "probation_s": 5, "attempts_max": 2},
    {"enabled": True, "cool_down_s": 0, "probation_s": 0, "release": "diagnostic", "order_tries": 2},
    {"enabled": True, "acknowledged": True, "release": "revalidation", "probation_s": 20},
    {"enabled": False},
]


class World:
    """A stage, the nodes it gives orders to, and all that is on its way between them."""

    def __init__(self, flow: int) -> None:
        self.agents = {node: Agent(node) for node in set(NODE_OF.values())}
        self.watch = Watch(NODE_OF, self.agents)
        self.commands: list[tuple[str, Order | str]] = []  # to a GPU's node: an order, or the id of one to cancel
        self.answers: list[CommandResult] = []
        self.read = 0
        self.suspects: set[str] = set()  # whose outputs may have been wrong
        self.steps: dict[str, Step | None] = {}
        self.given: set[str] = set()  # what was outstanding when it was last looked
        self.stage = Stage()
        self.policy(flow, 0)
        for node in self.agents:
            self.boot(node)
        for gpu in GPUS:
            self.judge(gpu, 0)

    # --- what may happen: each with two numbers that mean what they may --------------------------------------

    def judge(self, gpu: str, number: int) -> None:
        self.stage.judge(gpu, 1.0 - number % 2 * 0.1, node=NODE_OF[gpu])

    def fail(self, gpu: str, number: int) -> None:
        fault = {"evidence": self.stage.ts, **FAULTS[number % len(FAULTS)]}
        self.stage.judge(gpu, 0.0, node=NODE_OF[gpu], **fault)
        if fault.get("corruption"):
            self.suspects.add(gpu)

    def blank(self, gpu: str, number: int) -> None:
        self.stage.judge(gpu, None, node=NODE_OF[gpu])

    def wait(self, gpu: str, number: int) -> None:
        self.stage.tick(self.stage.ts + (1, 2_000, 10_000, 31_000, 70_000, 400_000, 1_000_000)[number % 7])

    def restore(self, gpu: str, number: int) -> None:
        self.stage.restore(gpu, node=NODE_OF[gpu])
        self.suspects.discard(gpu)

    def proceed(self, gpu: str, number: int) -> None:
        self.stage.restore(gpu, node=NODE_OF[gpu], action="proceed")

    def node_takes(self, gpu: str, number: int) -> None:
        """A command arrives, whichever it is, perhaps not for the last time."""
        if not self.commands:
            return
        at = number % len(self.commands)
        to, command = self.commands[at] if number % 3 == 0 else self.commands.pop(at)
        agent = self.agents[NODE_OF[to]]
        if isinstance(command, str):
            self.answers += agent.cancel(command, self.stage.ts)
        else:
            self.answers += agent.take(command, to, self.stage.ts, ENDS[number % len(ENDS)])

    def node_answers(self, gpu: str, number: int) -> None:
        if self.answers:
            at = number % len(self.answers)
            self._hear(self.answers[at] if number % 3 == 0 else self.answers.pop(at))

    def forge(self, gpu: str, number: int) -> None:
        """Of an order that is outstanding, what proves nothing; or what is right, from elsewhere, of nothing."""
        state, reason = FORGED[number % len(FORGED)]
        case = self.stage.task.fleet.members[gpu].case
        id_, node = (case.order.id if case.order else "none"), NODE_OF[gpu]
        if state == "done":
            id_, node = (id_, "n3") if number % 2 else (f"{id_}?", node)
        self._hear(CommandResult(ts=self.stage.ts, node=node, id=id_, action="", state=state, reason=reason, uuid=gpu))

    def scheduler(self, gpu: str, number: int) -> None:
        case = self.stage.task.fleet.members[gpu].case
        state = ("drained", "removed", "removed", "unknown", "serving")[number % 5]
        opened = case.opened_ms if number % 4 else 1
        running = (0, None, 2)[number % 3]
        who = {"node": NODE_OF[gpu], "uuid": gpu, "scheduler": "s"}
        self.stage.say(Serving(ts=self.stage.ts, state=state, in_flight=running, case=opened, **who))

    def check(self, gpu: str, number: int) -> None:
        result = ("clean", "corrupt", "unknown")[number % 3]
        end = self.stage.ts if number % 2 else 1
        self.stage.say(Revalidated(ts=self.stage.ts, node=NODE_OF[gpu], uuid=gpu, detected=1, end=end, result=result))

    def reboot(self, gpu: str, number: int) -> None:
        if number % 2:
            self.agents[NODE_OF[gpu]].boot += 1
        self.boot(NODE_OF[gpu])

    def restart(self, gpu: str, number: int) -> None:
        self.stage.restart()

    def policy(self, gpu: int | str, number: int) -> None:
        flow = FLOWS[number % len(FLOWS)]
        self.stage.policy(f"p{self.stage.offset}", ts=self.stage.offset, gpus_out_max=None, workflow=flow)

    def move(self, gpu: str, number: int) -> None:
        """To another slot; its former one may be told of too late to matter."""
        self.stage.tick(self.stage.ts + 1)  # nobody moves it in the millisecond in which its case begins
        if number % 2:
            self.stage.gone(gpu, "", node=NODE_OF[gpu])
        self.judge(gpu, number // 2)

    def hold(self, gpu: str, number: int) -> None:
        """Or the end of one."""
        word = ("hold", "release")[number % 2]
        said = {"ts": self.stage.ts, "node": "", "author": "ann", "until": self.stage.ts + 3_000_000}
        if word == "hold" or self.is_held:
            self.stage.say(Operator(action=word, **said))

    # --- the rest --------------------------------------------------------------------------------------------

    def boot(self, node: str) -> None:
        boot = f"{node}/{self.agents[node].boot}"
        self.stage.inventory(boot, *(gpu for gpu in GPUS if NODE_OF[gpu] == node), node=node)

    @property
    def is_held(self) -> bool:
        return bool(self.stage.task.decisions.brakes.holds)

    def _hear(self, result: CommandResult) -> None:
        self.watch.heard(result)
        self.stage.say(result)

    def look(self) -> None:
        """Read what was said, and hold the stage against what must be so at any time."""
        self.suspects -= self.released()
        for gpu, eviction in self.stage.evictions[self.read :]:
            order, cancel = self.watch.read(gpu, eviction, eviction.ts)
            self.commands += [(gpu, found) for found in (order, cancel) if found]
        self.read = len(self.stage.evictions)
        members = self.stage.task.fleet.members
        assert set(members) == set(GPUS) == set(self.stage.decisions), "a GPU is lost"
        for gpu in self.suspects:
            assert self.stage.decisions[gpu].weight == 0.0, "its outputs may be wrong, and nobody has vouched for it"
        for gpu, member in members.items():
            if not member.case.open:
                continue
            case = self.stage.case(gpu)
            assert case.deadline is not None or case.waits, "it goes on by itself, or says what it waits for"
            assert (case.step, case.opened) == (member.case.step, member.case.opened_ms), "readers know it"
            assert self.stage.decisions[gpu].weight == 0.0, "who is out has no traffic"
        given = {member.case.order.id for member in members.values() if member.case.order}
        assert not self.is_held or given <= self.given, "something is ordered under a hold"
        self.given = given
        busy = [member.change.node for member in members.values() if member.case.order]
        assert len(busy) == len(set(busy)), "a node has two orders at a time"
        for agent in self.agents.values():
            assert len(agent.done) == len(set(agent.done)), "an order was done twice"
            assert set(agent.done) <= self.watch.given.keys(), "something was done that nobody ordered"
        assert not self.stage.dead, self.stage.dead[-1].why

    def released(self) -> set[str]:
        """Who has come back from its probation since it was last looked."""
        steps = dict(self.steps)
        found = set()
        for gpu, eviction in self.stage.evictions[self.read :]:
            if steps.get(gpu) is Step.PROBATION and eviction.step is Step.IN_SERVICE and "slot" not in eviction.detail:
                found.add(gpu)
            steps[gpu] = eviction.step
        self.steps = steps
        return found

    def heal(self) -> None:
        """From here on all goes well: each case ends, or waits for somebody of whom that cannot be said."""
        self.hold("A", 1)
        self.policy(0, 1)
        for _ in range(8):
            for gpu in GPUS:
                for _ in range(len(self.commands)):
                    self.node_takes(gpu, 1)
                for answer in self.answers:
                    self._hear(answer)
                self.answers.clear()
                self.judge(gpu, 0)
                self.look()
            self.wait("A", 6)
            self.look()


OPS: list[Callable[[World, str, int], None]] = [
    *[World.fail] * 4,
    *[World.wait] * 6,
    *[World.node_takes] * 5,
    *[World.node_answers] * 6,
    *[World.judge] * 2,
    *[World.scheduler] * 2,
    World.blank,
    World.restore,
    World.proceed,
    World.forge,
    World.check,
    World.hold,
    *[World.move] * 2,
    World.reboot,
    World.restart,
    World.policy,
]
SCRIPT = st.lists(st.tuples(st.sampled_from(OPS), st.sampled_from(GPUS), st.integers(0, 60)), max_size=60)
ENDED = {Step.IN_SERVICE, Step.QUARANTINED, Step.RMA}


def lived(flow: int, script: list[tuple[Callable[[World, str, int], None], str, int]]) -> World:
    world = World(flow)
    world.look()
    for op, gpu, number in script:
        op(world, gpu, number)
        world.look()
    return world


@settings(max_examples=HISTORIES)
@given(st.integers(0, len(FLOWS) - 1), SCRIPT)
def test_in_any_history(flow: int, script: list[tuple[Callable[[World, str, int], None], str, int]]) -> None:
    world = lived(flow, script)
    world.heal()
    for gpu in GPUS:
        case = world.stage.case(gpu) if world.stage.task.fleet.members[gpu].case.open else None
        assert case is None or case.step in ENDED or case.waits, (gpu, case)


@settings(max_examples=max(10, HISTORIES // 10))
@given(st.integers(0, len(FLOWS) - 1), SCRIPT, st.integers(0, 2**32))
def test_cuts_and_restarts_do_not_show(
    flow: int, script: list[tuple[Callable[[World, str, int], None], str, int]], seed: int
) -> None:
    check_cuts(ClusterTask, lived(flow, script).stage.log, rounds=2, seed=seed)
