"""Who is who: every GPU of a cluster, found by UUID or by slot, and who of them is out or waits to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from processors.budget import Capacity
from processors.case import PLANNED, Case, Failed, of_one
from processors.tally import Tally
from schemas.records import ConditionChange, Decision, Reason, Standing, gpu_key
from schemas.states import Action, CaseState, Condition


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """What must change before a new decision is worth sending. reasons: (signal, level), sorted.

    instances: (GPU instance, compute instance, weight, reasons).
    """

    weight: float
    state: CaseState
    action: Action
    condition: Condition
    held_by: str
    reasons: list[tuple[str, str]]
    instances: list[tuple[int, int | None, float | None, list[tuple[str, str]]]]
    incident: str

    @classmethod
    def of(cls, decision: Decision) -> Shown:
        instances = [(one.gi, one.ci, one.weight, _short(one.reasons)) for one in decision.instances]
        shown = decision.weight, decision.state, decision.action, decision.condition, decision.held_by
        return cls(*shown, _short(decision.reasons), instances, decision.incident)


def _short(reasons: Iterable[Reason]) -> list[tuple[str, str]]:
    return sorted({(reason.signal, reason.level) for reason in reasons})


class Member(msgspec.Struct, omit_defaults=True):
    """One GPU: its newest judgement (which also names it), its case, and what was last decided.

    weight: None before the first decision. held_by: what keeps its case from opening. spent: an operator has
    overruled the judgement; it opens no case, the next one may. groups: why it is to blame for which group.
    drain, override: what operators have said of it that still holds. before: its weight but for the override, as last
    judged; None: it would be out.
    """

    change: ConditionChange
    case: Case
    weight: float | None = None
    held_by: str = ""
    spent: bool = False
    shown: Shown | None = None
    groups: dict[str, Reason] = {}
    drain: Standing | None = None
    override: Standing | None = None
    before: float | None = None

    @property
    def key(self) -> str:
        return self.case.gpu

    @property
    def out(self) -> bool:
        return self.case.open or self.change.condition is Condition.UNKNOWN

    @property
    def blind(self) -> bool:
        """Nothing is known of it any more, and that matters: it has traffic, or a case."""
        return self.change.condition is Condition.UNKNOWN and (self.case.open or bool(self.weight))

    @property
    def announced(self) -> bool:
        """An operator has said that it is to go out."""
        return self.drain is not None or any(reason.signal == PLANNED for reason in self.change.reasons)

    @property
    def discretionary(self) -> bool:
        """No budget holds back what an operator has announced, either."""
        change = self.change
        if change.hard or change.corruption or self.drain is not None:
            return False
        return not any(reason.signal == PLANNED for reason in change.reasons)

    @property
    def overridden(self) -> bool:
        """An operator's weight counts, not the judgement; never against suspected corruption."""
        return self.override is not None and not (self.change.corruption or self.case.corruption)

    @property
    def words(self) -> list[Standing]:
        return [word for word in (self.drain, self.override) if word is not None]

    @property
    def urgency(self) -> tuple[bool, float, str]:
        """Sorts those that are to be removed: firm faults first, then the worst score, then by key."""
        return self.discretionary, self.change.held, self.key


class Arrival(NamedTuple):
    """first: not seen before. former: the member as it was under `node/BDF`, when its UUID comes to light."""

    member: Member
    first: bool
    former: Member | None


def suspicion(left: Case, now_ms: int) -> Failed:
    """Against a GPU that had left with this case: its outputs may have been wrong. Nobody else's node goes for that."""
    return Failed(
        left.gpu,
        now_ms,
        action=Action.EVICT_PERMANENTLY if left.permanent else Action.EVICT,
        cause=f"put in another slot: {left.cause}",
        fault=left.fault,
        hard=left.hard,
        corruption=True,
        incident=left.incident,
        evidence_ms=left.corrupt_ms,
        corrupt_ms=left.corrupt_ms,
    )


class Fleet:
    """All members by key. A slot (`node/BDF`) holds one GPU: the one that spoke last.

    waiting: keys of those to be removed that have not been admitted; held: the same by what holds them back, once that
    is known. standing: keys of those that an operator's word holds of. tally: counts of them all. left: by UUID
    the cases of those that have left, as they stood then: who is put elsewhere is no better for it.
    """

    def __init__(self, members: Iterable[Member] = (), left: Mapping[str, Case] | None = None) -> None:
        self.members: dict[str, Member] = {}
        self.waiting: set[str] = set()
        self.held: dict[str, set[str]] = {}
        self.standing: set[str] = set()
        self.tally = Tally()
        self.left = dict(left or {})
        self._slots: dict[str, str] = {}
        self._nodes: dict[str, set[str]] = {}
        for member in members:
            self._add(member)

    @property
    def capacity(self) -> Capacity:
        return Capacity(len(self.members), len(self.tally.out))

    @property
    def nodes_known(self) -> int:
        return len(self._nodes)

    def find(self, node: str, uuid: str, bdf: str) -> Member | None:
        """The GPU of that name; a slot does not answer for a UUID that it is known not to hold."""
        slot = gpu_key(node, "", bdf)
        return self.members.get((uuid if uuid in self.members else slot) if uuid else self._slots.get(slot, ""))

    def neighbours(self, member: Member) -> list[Member]:
        """The other known GPUs of its node, by key."""
        return [other for other in self.on_node(member.change.node) if other.key != member.key]

    def on_node(self, node: str) -> list[Member]:
        """The known GPUs of a node, by key."""
        return [self.members[key] for key in sorted(self._nodes.get(node, ()))]

    def arrive(self, change: ConditionChange) -> Arrival:
        """Make `change` the newest judgement of its GPU, which is found by UUID or slot, or added."""
        slot = gpu_key(change.node, "", change.bdf)
        occupant = self.members.get(self._slots.get(slot, ""))
        if occupant is not None and not change.uuid:
            change.uuid = occupant.change.uuid
        key = gpu_key(change.node, change.uuid, change.bdf)
        former = self.remove(slot) if key != slot and slot in self.members else None
        member = self.remove(key)
        if former is not None:
            # One GPU, two names: of two cases the firmer one stays, and the UUID keeps what it has shown.
            cases = (former.case,) if member is None else (member.case, former.case)
            case = of_one(key, *cases)
            weight = former.weight if member is None else member.weight
            shown = None if member is None else member.shown
            said = former if former.words or member is None else member
            arrived = Member(change=change, case=case, weight=weight, shown=shown)
            arrived.drain, arrived.override, arrived.before = said.drain, said.override, said.before
        elif member is not None:
            if not change.bdf and change.node == member.change.node:
                change.bdf = member.change.bdf
            member.change, member.spent = change, False
            arrived = member
        else:
            arrived = Member(change=change, case=Case(gpu=key))
        if occupant is not None and occupant.key in self.members:
            occupant.change.bdf = ""  # another UUID in its slot: it stands elsewhere, or nowhere
        self._add(arrived)
        return Arrival(arrived, member is None and former is None, former)

    def _add(self, member: Member) -> None:
        key, change = member.key, member.change
        self.members[key] = member
        self._nodes.setdefault(change.node, set()).add(key)
        if change.bdf:
            self._slots[gpu_key(change.node, "", change.bdf)] = key
        if member.words:
            self.standing.add(key)
        if member.held_by:
            self.waiting.add(key)
            self.held.setdefault(member.held_by, set()).add(key)
        self.note(member)

    def remove(self, key: str) -> Member | None:
        member = self.members.pop(key, None)
        if member is None:
            return None
        node = self._nodes[member.change.node]
        node.discard(key)
        if not node:
            del self._nodes[member.change.node]
        if member.change.bdf:
            del self._slots[gpu_key(member.change.node, "", member.change.bdf)]
        self.tally.forget(key)
        self.standing.discard(key)
        self._unhold(member)
        self.waiting.discard(key)
        return member

    def note(self, member: Member) -> bool:
        """To be told whenever a member's judgement or case has changed; returns whether it is to go out only now."""
        return self.tally.note(member, member.key in self.waiting)

    def hold(self, member: Member, held_by: str) -> None:
        """It goes on waiting, for that."""
        if held_by != member.held_by:
            self._unhold(member)
            member.held_by = held_by
            self.held.setdefault(held_by, set()).add(member.key)

    def end_wait(self, member: Member) -> None:
        self._unhold(member)
        member.held_by = ""
        self.waiting.discard(member.key)

    def _unhold(self, member: Member) -> None:
        held = self.held.get(member.held_by)
        if held is not None:
            held.discard(member.key)
            if not held:
                del self.held[member.held_by]
