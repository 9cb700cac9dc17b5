"""Whatever happens in whatever order, and wherever we die: no record of a worker is lost, none comes from the dead."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.sinks.schedulers.dynamo.worlds import Died, adapter

IN_MEMORY = Path("/dev/shm")  # thousands of fsync
SLOTS = st.integers(0, 1)
DEATHS = st.one_of(st.none(), st.integers(0, 12))  # after so many steps; None: we live


class Histories(RuleBasedStateMachine):
    """Two places for workers, each held by one worker at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.world = self.make_world(self.directory)
        self.adapter = None
        self.names: list[str] = []
        self.slots = [self.new_worker(), self.new_worker()]
        self.dead: set[str] = set()
        self.taken: set[str] = set()  # by somebody else

    def make_world(self, directory: Path):
        raise NotImplementedError

    def new_worker(self) -> str:
        instance = self.world.new_instance(len(self.names))
        self.names.append(instance)
        self.world.start(instance, [f"GPU-{len(self.names)}"])
        return instance

    def run(self, what, death):
        """What is asked of the adapter; behind a death, then None, there is a new one."""
        self.adapter = self.adapter or adapter(self.world, self.directory / "state")
        try:
            if death is None:
                return asyncio.run(what(self.adapter))
            with self.world.dying(death):
                return asyncio.run(what(self.adapter))
        except Died:
            self.adapter._saved.close()  # the kernel does it for the dead
            self.adapter = None
            return None

    def ours(self, instance: str) -> bool:
        return any((self.directory / "state").glob(f"{instance}-*.json"))

    @rule(slot=SLOTS, death=DEATHS)
    def drain(self, slot, death) -> None:
        instance = self.slots[slot]
        self.run(lambda it: it.drain(instance, "a note"), death)
        if death is None:
            assert not self.world.serving(instance)

    @rule(slot=SLOTS, death=DEATHS)
    def remove(self, slot, death) -> None:
        self.run(lambda it: it.remove(self.slots[slot], "a note"), death)

    @rule(slot=SLOTS, death=DEATHS)
    def add(self, slot, death) -> None:
        instance = self.slots[slot]
        self.run(lambda it: it.add(instance), death)
        if death is None and instance not in self.taken:
            assert self.world.serving(instance)

    @precondition(lambda self: self.dead)
    @rule(death=DEATHS)
    def add_the_dead(self, death) -> None:
        for instance in sorted(self.dead):
            self.run(lambda it, instance=instance: it.add(instance), death)
            assert death is not None or not self.ours(instance)

    @rule(death=DEATHS)
    def look(self, death) -> None:
        standings = self.run(lambda it: it.look(self.slots), death) or {}
        for instance, standing in standings.items():
            assert (standing.state == "serving") == self.world.serving(instance)
            assert standing.state == "serving" or standing.ours == self.ours(instance)

    @rule(death=DEATHS)
    def units(self, death) -> None:
        self.run(lambda it: it.units([]), death)

    @rule(slot=SLOTS)
    def restart(self, slot) -> None:
        self.world.end(self.slots[slot])
        self.dead.add(self.slots[slot])
        self.slots[slot] = self.new_worker()

    @rule(slot=SLOTS)
    def register_again(self, slot) -> None:
        self.world.register(self.slots[slot])
        self.taken.discard(self.slots[slot])

    @precondition(lambda self: any(not self.ours(instance) for instance in self.slots))
    @rule()
    def somebody_else_drains(self) -> None:
        instance = next(instance for instance in self.slots if not self.ours(instance))
        self.world.delete(instance)
        self.taken.add(instance)

    @invariant()
    def nothing_is_lost(self) -> None:
        for instance in self.slots:
            assert self.world.serving(instance) or self.ours(instance) or instance in self.taken

    @invariant()
    def what_others_took_stays_out(self) -> None:
        assert not any(self.world.serving(instance) for instance in self.taken)

    @invariant()
    def the_dead_stay_dead_and_nothing_is_doubled(self) -> None:
        standing = self.world.standing()
        assert not any(name.endswith(instance) for name in standing for instance in self.dead)
        assert len(standing) == sum(map(self.world.serving, self.slots))

    def teardown(self) -> None:
        for instance in self.names:
            self.run(lambda it, instance=instance: it.add(instance), None)
        assert all(self.world.serving(instance) for instance in self.slots if instance not in self.taken)
        assert not list((self.directory / "state").glob("*.json"))
        asyncio.run(self.adapter.close())
        self.world.close()
        shutil.rmtree(self.directory)


def as_tests(machine, examples: int):
    case = machine.TestCase
    case.settings = settings(max_examples=examples, stateful_step_count=20)
    return case
