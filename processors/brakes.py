"""The brakes: what holds a change back. Two gates, one before a GPU is taken out, one before a disruptive step.

The first restrains discretionary removals alone: no budget, storm or hold keeps traffic on a hard fault. The second
restrains every removal of a worker, reset and diagnosis, whatever took the GPU out.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from processors import budget, scopes
from processors.budget import NODES, Removal
from processors.cluster_policy import Policy
from processors.fleet import Fleet, Member
from processors.groups import Groups
from processors.heard import Heard
from processors.scopes import Unit
from processors.storm import Storm, StormSaved
from processors.windows_of_work import is_open
from schemas.counts import counted
from schemas.records import Brakes as Told
from schemas.records import Standing, gpu_key

HOLD, STORM = "hold", "storm"
WIDE = (HOLD, STORM, budget.BUDGET)  # what holds back all that is discretionary, wherever
EVERYWHERE = "cluster"


class BrakesSaved(msgspec.Struct):
    """What a checkpoint holds. said: what readers were told last, at `looked_ms` or before. cluster: its name.

    heard: ids of operators' words, and when they were said. open: a window of work was.
    """

    storm: StormSaved = msgspec.field(default_factory=StormSaved)
    holds: list[Standing] = []
    said: Told | None = None
    looked_ms: int = 0
    cluster: str = ""
    heard: list[tuple[str, int]] = []
    open: bool = True


class Brakes:
    """holds: by scope. news: what people must be told now, of storms and words; "" = nothing. turned: the second gate
    may let through, or hold, others than before.
    """

    def __init__(self, policy: Policy, saved: BrakesSaved | None = None) -> None:
        saved = saved or BrakesSaved()
        self.storm = Storm(policy.storm, saved.storm)
        self.holds = {hold.scope: hold for hold in saved.holds}
        self.heard = Heard(saved.heard)
        self.said, self.looked_ms, self.cluster = saved.said, saved.looked_ms, saved.cluster
        self.news = ""
        self.turned = False
        self._open = saved.open
        self._ended: set[str] = set()  # holds that have ended since the last admission, as `held_by` names them
        self.policy = policy
        self.fleet, self.groups = Fleet(), Groups(policy.groups)
        self._due_ms: int | None = None

    def attach(self, fleet: Fleet, groups: Groups) -> None:
        self.fleet, self.groups = fleet, groups
        self._count()
        self.restand()

    def apply(self, policy: Policy) -> None:
        self.policy, self.storm.policy = policy, policy.storm
        self._count()

    def save(self) -> BrakesSaved:
        holds = [self.holds[scope] for scope in sorted(self.holds)]
        said, heard = (self.said, self.looked_ms, self.cluster), self.heard.save()
        return BrakesSaved(self.storm.save(), holds, *said, heard, self._open)

    # --- what changes --------------------------------------------------------------------------------------

    def note(self, member: Member, now_ms: int) -> None:
        """To be told whenever a member's judgement, weight or case has changed, or it has begun to wait."""
        self.cluster = self.cluster or member.change.cluster
        if self.fleet.note(member) and not member.announced:
            self.storm.want(member.key, now_ms)
            self.look(now_ms)

    def look(self, now_ms: int) -> None:
        """Storms and windows come and go."""
        storm = self.storm.look(now_ms, len(self.fleet.members), len(self.fleet.tally.blind))
        open_ = is_open(self.policy.steps.windows, now_ms)
        if storm or open_ != self._open:
            self.turned = True
        self._open, self.news = open_, storm or self.news

    def regroup(self) -> list[str]:
        """Take in which GPUs stand or serve elsewhere; returns those that wait and may have room there."""
        moved, self.groups.moved = self.groups.moved, set()
        known = [key for key in sorted(moved) if key in self.fleet.members]
        self.fleet.tally.steps.freed.clear()
        for key in known:
            self.fleet.tally.regroup(self.fleet.members[key])
        self.turned = self.turned or bool(self.fleet.tally.steps.freed)
        return [key for key in known if key in self.fleet.waiting]

    def stand(self, hold: Standing) -> None:
        self.holds[hold.scope] = hold
        self.turned = True
        self.restand()

    def end_hold(self, scope: str) -> Standing | None:
        found = self.holds.pop(scope, None)
        if found is not None:
            self._ended.add(f"{HOLD}:{scope}")
            self.turned = True
            self.restand()
        return found

    def restand(self) -> None:
        """Words of operators have come or gone: when does the first of them end?"""
        times = [hold.until for hold in self.holds.values()]
        times += [word.until for key in self.fleet.standing for word in self.fleet.members[key].words]
        self._due_ms = min((until for until in times if until), default=None)

    def due(self, now_ms: int) -> bool:
        """Whether a word ends now."""
        return self._due_ms is not None and self._due_ms <= now_ms

    def _count(self) -> None:
        fleet = self.fleet
        fleet.tally.use(self.policy, self.groups, fleet.members.values())

    # --- the first gate: taking a GPU out ------------------------------------------------------------------

    def wide(self) -> str:
        """What holds back all that is discretionary; "" = nothing does."""
        if EVERYWHERE in self.holds:
            return HOLD
        if self.storm.active:
            return STORM
        return budget.admit(Removal(discretionary=True), self.fleet.capacity, self.policy)

    def opening(self, member: Member, wide: str) -> str:
        """What holds back its removal, as `held_by` of its decision names it; "" = nothing does. wide: as of now."""
        if not member.discretionary:
            return ""
        if wide:
            return wide
        if hold := self._hold_on(member):
            return f"{HOLD}:{hold.scope}"
        tally, limits = self.fleet.tally, self.policy.budgets
        of = scopes.units(member.change, self.groups)
        own = int(member.key in tally.out)
        if unit := budget.full(of, tally.out.used, limits, own):
            return f"{budget.BUDGET}:{unit}"
        most = budget.nodes_limit(self.fleet.nodes_known, limits)
        if most is not None and of[0] not in tally.out.used and tally.out.kinds.get("node", 0) >= most:
            return NODES
        return ""

    def loosened(self) -> Iterator[str]:
        """What may hold back less than before, as `held_by` names it. To be asked once for each admission."""
        tally, limits = self.fleet.tally, self.policy.budgets
        freed, ended = tally.out.freed, self._ended
        tally.out.freed, self._ended = set(), set()
        most = budget.nodes_limit(self.fleet.nodes_known, limits)
        begun, tally.out.begun = tally.out.begun, False
        if most is None or tally.out.kinds.get("node", 0) < most or begun:  # another GPU of such a node adds none
            yield NODES
        yield from sorted(ended)
        yield from sorted(f"{budget.BUDGET}:{unit}" for unit in freed)

    # --- the second gate: removal, reset, diagnosis --------------------------------------------------------

    def stopped(self, member: Member) -> str:
        """What stops its disruptive steps, ordered ones that have not begun included, in words; "" = nothing does."""
        hold = self.holds.get(EVERYWHERE) or self._hold_on(member)
        if hold:
            return f"{HOLD}:{hold.scope}, by {hold.author}" + (f": {hold.note}" if hold.note else "")
        if self.storm.active:
            return f"{STORM}: {self.storm.why}"
        return ""

    def step(self, member: Member, now_ms: int) -> str:
        """What holds back a disruptive step, in words that begin with the brake's name; "" = nothing does."""
        if why := self.stopped(member):
            return why
        tally, limits, case = self.fleet.tally, self.policy.steps, member.case
        if (case.of_node or case.bystander) and self._goes_as_a_whole(member.change.node):
            return ""
        if not is_open(limits.windows, now_ms):
            return f"window: such steps begin {', '.join(limits.windows)} UTC"
        own = int(member.key in tally.steps)
        if limits.gpus_max is not None and len(tally.steps) - own >= limits.gpus_max:
            busy = counted(len(tally.steps) - own, "GPU is", "GPUs are")
            return f"{budget.BUDGET}: {busy} in such a step, at most {limits.gpus_max}"
        unit = budget.full(scopes.units(member.change, self.groups), tally.steps.used, limits, own)
        if unit is not None:
            most = budget.unit_limit(unit.kind, limits)
            return f"{budget.BUDGET}:{unit}: at most {counted(most or 0, 'GPU')} of it may be in such a step"
        return ""

    def _goes_as_a_whole(self, node: str) -> bool:
        """It is on its way, or waits for its reboot already."""
        if Unit("node", node) in self.fleet.tally.steps.used:
            return True
        return any(member.case.awaits_boot for member in self.fleet.on_node(node))

    def _hold_on(self, member: Member) -> Standing | None:
        if not self.holds:
            return None
        change = member.change
        links = self.groups.links.get(change.uuid)
        names = [f"gpu {member.key}", f"gpu {gpu_key(change.node, '', change.bdf)}", f"node {change.node}"]
        names += [f"rack {links.rack}"] if links is not None and links.rack else []
        return next((self.holds[name] for name in names if name in self.holds), None)
