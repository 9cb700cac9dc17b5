"""A scheduler in memory, cases as the cluster stage says them, a clock: for the tests beside this file."""

from __future__ import annotations

from schemas.log import Origin, Record
from schemas.records import Eviction, encode
from schemas.states import Action, Step
from sinks.schedulers.adapter import Adapter, Away, Capabilities, Gpu, Refused, Standing
from sinks.schedulers.reconcile import Reconciler
from sinks.schedulers.view import View
from sinks.sink import SinkError

T = 1_767_603_600_000
OURS, THEIRS = "gpu-vitals", "ann"


class Killed(BaseException):
    """kill -9, at this very call."""


def gpu(number, node="n1"):
    return Gpu(node, f"GPU-{number}", f"0000:0{number}:00")


def eviction(number, step, offset=0, opened=T, node="n1", ordinal=0, **changes):
    fields = {"state": step.state, "step": step, "action": Action.EVICT, "cause": "Xid 48: double-bit ECC error"}
    said = Eviction(
        ts=T, cluster="c1", node=node, uuid=f"GPU-{number}", bdf=f"0000:0{number}:00", opened=opened,
        **(fields | changes),
    )  # fmt: skip
    return record(f"GPU-{number}", encode(said), offset, ordinal)


def record(key, value, offset, ordinal=0):
    return Record(offset, T, key, "eviction", value, Origin("cluster", 0, offset, ordinal))


class World(Adapter):
    """Units with the holds of several owners. plan: unit -> the GPUs (by number) that it uses.

    fails: what the next calls end with: None, an exception (nothing was done), or (exception,) (it was done all the
    same). refuses: units that take nothing. slow: units that take all, and show nothing of it.
    """

    name = "world"

    def __init__(self, plan, can_force=True, counts=True):
        self.plan = plan
        self.capabilities = Capabilities("none", "worker", counts, can_force)
        self.holds = {unit: {} for unit in plan}  # owner -> whether removed
        self.in_flight = dict.fromkeys(plan, 0)
        self.fails = []
        self.refuses = set()
        self.slow = set()
        self.away = ""
        self.calls = []

    async def units(self, gpus):
        self._fail()
        return {
            each: [unit for unit, used in self.plan.items() if each.uuid in map("GPU-{}".format, used)] for each in gpus
        }

    async def look(self, units):
        self._fail()
        return {unit: self.standing(unit) for unit in units if unit in self.plan}

    def standing(self, unit):
        held = self.holds[unit]
        state = "removed" if any(held.values()) else "drained" if held else "serving"
        return Standing(state, self.in_flight[unit] if self.capabilities.in_flight else None, OURS in held)

    async def drain(self, unit, note):
        self._do("drain", unit, lambda: self.holds[unit].setdefault(OURS, False))

    async def force(self, unit, note):
        self._do("force", unit, lambda: self.in_flight.update({unit: 0}))

    async def remove(self, unit, note):
        self._do("remove", unit, lambda: self.holds[unit].update({OURS: True}))

    async def add(self, unit):
        self._do("add", unit, lambda: self.holds[unit].pop(OURS, None))

    def _do(self, what, unit, effect):
        self.calls.append((what, unit))
        if unit in self.refuses:
            raise Refused("no")
        self._fail(effect)
        if unit not in self.slow:
            effect()

    def _fail(self, effect=lambda: None):
        if self.away:
            raise Away(self.away)
        failure = self.fails.pop(0) if self.fails else None
        if isinstance(failure, tuple):
            effect()
            (failure,) = failure
        if failure is not None:
            raise failure

    def states(self):
        return {unit: self.standing(unit).state for unit in self.plan}


class Bench:
    """A reconciler on that scheduler, with a clock that is moved by hand. reports: all that were made."""

    def __init__(self, world, enabled=True):
        self.world = world
        self.enabled = enabled
        self.now = 0.0
        self.log = []
        self.reports = []
        self.log_away = False
        self.may_add = True
        self.start()

    def start(self):
        """As after kill -9: nothing is left but the log."""
        self.view = View()
        self.reconciler = Reconciler(
            self.view, self.world, self._report, lambda: self.now, lambda: T + round(1000 * self.now),
            self.enabled, lambda: self.may_add,
        )  # fmt: skip
        for each in self.log:
            self.view.take(each)

    def say(self, *records):
        self.log += records
        for each in records:
            self.view.take(each)

    async def step(self, times=1):
        """Each look when it is due. Returns how long it wants to wait behind the last."""
        for _ in range(times):
            wait_s = await self.reconciler.step()
            self.now += max(wait_s, 0.05)
        return wait_s

    async def for_s(self, seconds):
        until = self.now + seconds
        while self.now < until:
            await self.step()

    async def _report(self, said):
        if self.log_away:
            raise SinkError("Kafka is away")
        self.reports += said

    def told(self):
        """(GPU, state, in_flight) of each report."""
        return [(said.uuid, said.state, said.in_flight) for said in self.reports]


STEPS = list(Step)
