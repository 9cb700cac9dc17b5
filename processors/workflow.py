"""Drives cases beyond their drain: asks the second gate, gives orders, and brings in what others answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from processors import case, gate
from processors.case import Case
from processors.fleet import Member
from processors.nodes import Nodes
from schemas.commands import cancel_id
from schemas.records import CommandResult, Inventory, Operator, Revalidated, Serving
from schemas.states import Condition, Step

if TYPE_CHECKING:
    from processors.decisions import Decisions


class Workflow:
    """`follow` is told of each case that has changed; `settle` moves on those that can be."""

    def __init__(self, decisions: Decisions, nodes: Nodes) -> None:
        self.decisions = decisions
        self.nodes = nodes
        self._orders: dict[str, str] = {}  # id of each that is outstanding or cancelled, and of what cancels it -> GPU
        self._at_gate: set[str] = set()
        self._ready: dict[str, None] = {}  # who may have come to something, in order
        self._stirred = False

    # --- who waits -----------------------------------------------------------------------------------------

    def follow(self, before: Case | None, after: Case) -> None:
        """`after` is what has become of a case. before: None where it is seen for the first time."""
        for order in _orders(before) - _orders(after) if before else ():
            self._orders.pop(order, None)
        for order in _orders(after):
            self._orders[order] = after.gpu
        if after.at_gate:
            self._at_gate.add(after.gpu)
            self._ready[after.gpu] = None
        else:
            self._at_gate.discard(after.gpu)
        if after.watched:
            self._ready[after.gpu] = None
        if before and ((before.disrupted and not after.disrupted) or (before.order and not after.order)):
            self._stirred = True  # room for others

    def taken_back(self, node: str) -> None:
        """An order to it is cancelled under a sequence of its own, right behind all that was ordered by now."""
        self.nodes.ordered(node, self.nodes.next_sequence(node, self._now_ms) + 1)

    def recall(self, known: Case) -> None:
        """A case out of a checkpoint: it was asked then, and is asked again when something changes, not now. But for
        one of before cases said what they wait for.
        """
        self.follow(None, known)
        if known.waits:
            self._ready.pop(known.gpu, None)

    def forget(self, gone: Case) -> None:
        """The GPU is not known any more, under that key."""
        self._stirred = self._stirred or gone.order is not None
        for order in _orders(gone):
            self._orders.pop(order, None)
        self._at_gate.discard(gone.gpu)

    def touch(self, member: Member) -> None:
        """It is judged anew."""
        if member.case.at_gate:
            self._ready[member.key] = None

    def stir(self) -> None:
        """Something that may hold any case at the second gate, or let it through, has changed."""
        self._stirred = True

    @property
    def late(self) -> bool:
        """Somebody waits to be moved on, as the time that passes has yet to pass to its end."""
        return self._stirred or bool(self._ready)

    def settle(self) -> None:
        """Move on who can be. Not while deadlines catch up with the clock after a long silence: what is let through as
        of then would be ordered too late to be done, and the gate as of then may be closed by now.
        """
        while self.late and self._now_ms >= self.decisions.clock_ms:
            stirred, self._stirred = self._stirred, False
            ready, self._ready = self._ready, {}
            members = self.decisions.fleet.members
            line = [members[key] for key in ({*ready, *self._at_gate} if stirred else ready) if key in members]
            for member in sorted(line, key=lambda member: member.urgency) if len(line) > 1 else line:
                self._go_on(member)

    def withdraw(self, held_by: Callable[[Member], str]) -> None:
        """Take back each order that has not begun, where `held_by` says that it must not be done now."""
        for _, key in sorted(self._orders.items()):
            member = self.decisions.fleet.members.get(key)
            if member is not None and member.case.order and (why := held_by(member)):
                self.decisions.deliver(member, case.Held(key, self._now_ms, why=why))

    @property
    def _now_ms(self) -> int:
        return self.decisions.out.now_ms

    def _go_on(self, member: Member) -> None:
        now_ms, policy = self._now_ms, self.decisions.policy
        if member.case.watched:
            if member.change.condition is not Condition.UNKNOWN and not self.decisions.stops(member):
                self.decisions.deliver(member, case.Recovered(member.key, now_ms))
        elif member.case.at_gate:
            why, until_ms = self._held_by(member), gate.own(member.case, now_ms, policy).until_ms
            if not why:
                self._admit(member)
            elif why != member.case.waits or until_ms is not None:
                self.decisions.deliver(member, case.Held(member.key, now_ms, why=why, until_ms=until_ms))

    def _held_by(self, member: Member) -> str:
        at, change = member.case, member.change
        if at.step is Step.DIAGNOSING:  # of a GPU that is out: nobody's budget; a hold or a storm stops it all the same
            why = gate.own(at, self._now_ms, self.decisions.policy).why or self.decisions.brakes.stopped(member)
        else:
            why = self.decisions._gate(member)
        if why or at.step is Step.DRAINED:
            return why
        if not change.uuid:
            return "its order: nobody has told its UUID yet"
        if not self.nodes.boot(change.node):
            return f"the inventory of {change.node}: its boot is not known"
        if any(other.case.order and other is not member for other in self.decisions.fleet.on_node(change.node)):
            return f"{change.node}: it has the order for another GPU, and carries out one at a time"
        return ""

    def _admit(self, member: Member) -> None:
        node, before = member.change.node, member.case
        admitted = case.Admitted(
            member.key,
            self._now_ms,
            node=node,
            boot=self.nodes.boot(node),
            sequence=self.nodes.next_sequence(node, self._now_ms),
            tied=self.nodes.is_tied(node, member.change.uuid),
        )
        self.decisions.deliver(member, admitted)
        if member.case.order is not None and member.case.order is not before.order:
            self.nodes.ordered(node, member.case.order.sequence)

    # --- what others say -----------------------------------------------------------------------------------

    def take_inventory(self, inventory: Inventory) -> None:
        """Reboots, and the boot that orders wait for."""
        rebooted = self.nodes.take(inventory)
        for member in self.decisions.fleet.on_node(inventory.node):
            if rebooted and member.case.open:
                self.decisions.deliver(member, case.Rebooted(member.key, self._now_ms))
            self.touch(member)

    def take_result(self, result: CommandResult) -> None:
        """An answer to an order of ours, or to what cancels it; all others are for those who gave them."""
        member = self.decisions.fleet.members.get(self._orders.get(result.id, ""))
        if member is None or result.node != member.change.node or result.uuid not in ("", member.change.uuid):
            return
        self.decisions.deliver(member, case.Answered(member.key, self._now_ms, result=result))

    def take_serving(self, serving: Serving) -> None:
        """Of a case that is open; a word on one before it is too late."""
        member = self.decisions.fleet.find(serving.node, serving.uuid, serving.bdf)
        if member is None or not member.case.open or serving.case != member.case.opened_ms:
            return
        self.decisions.deliver(
            member,
            case.Traffic(
                member.key,
                self._now_ms,
                state=serving.state,
                in_flight=serving.in_flight,
                scheduler=serving.scheduler,
                detail=serving.detail,
            ),
        )

    def take_check(self, checked: Revalidated) -> None:
        """What came of outputs that may have been wrong."""
        member = self.decisions.fleet.find(checked.node, checked.uuid, checked.bdf)
        if member is not None and member.case.open:
            said = case.Validated(member.key, self._now_ms, result=checked.result, end=checked.end)
            self.decisions.deliver(member, said)

    def proceed(self, members: Iterable[Member], word: Operator) -> None:
        """An operator lets them go on."""
        note = f"by {word.author or 'an operator'}" + (f": {word.note}" if word.note else "")
        for member in members:
            if member.case.open:
                self.decisions.deliver(member, case.Proceed(member.key, self._now_ms, note=note))


def _orders(of: Case) -> set[str]:
    given = {of.order.id} if of.order else set()
    return given | ({of.cancel, cancel_id(of.cancel)} if of.cancel else set())
