"""The cluster stage: what nodes and operators say about GPUs becomes cases, and weights for schedulers.

Order matters in two places. Deadlines fire between records, before the record whose append time passed them,
by (deadline, key). And an operator's "restore" comes before the node's next judgement: the node stage clears
its latches on the same record and judges anew right behind it. So a restore ends the case and overrules the
standing judgement, while the weight waits for the next one; a GPU that still fails then gets a new case.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from processors import case, checkpoints, cluster_groups
from processors import policy as policies
from processors.budget import Removal, admit
from processors.case import Announce, Case, Event, Failed, RemoveNode
from processors.cluster_output import ClusterOutput
from processors.cluster_policy import Policy
from processors.fleet import Fleet, Member
from processors.fleet_events import fleet_event
from processors.groups import Groups, GroupsSaved
from processors.versions import complaint
from schemas.log import Checkpoint, Output, Record
from schemas.policy import known
from schemas.records import (
    Bandwidth,
    ConditionChange,
    Gone,
    Inventory,
    LinkStatus,
    Operator,
    Placement,
    PolicyChange,
    Tick,
)
from schemas.states import Action, Condition

VERSION = 1
POLICIES_REMEMBERED = 64  # copies of one change come from every partition, some late


class Place(NamedTuple):
    """Where a derived record comes from, within one partition of one stage; later ones are greater."""

    generation: int
    offset: int
    ordinal: int


class Saved(msgspec.Struct):
    """A checkpoint's content. policies: (event time, id) of the changes that were taken, oldest first. newest: of
    each stage and partition that has spoken, where its newest record comes from.
    """

    clock_ms: int
    policy: dict[str, Any]
    policy_id: str
    policies: list[tuple[int, str]]
    members: list[Member]
    newest: list[tuple[str, int, Place]] = []
    groups: GroupsSaved = msgspec.field(default_factory=GroupsSaved)


class ClusterTask:
    """One partition of the cluster stage (see `processors.task.Task`); it alone writes `decisions`."""

    def __init__(self, partition: int = 0) -> None:
        self.partition = partition
        self.policy = Policy()
        self.policy_id = policies.from_document("default", {}).id
        self.fleet = Fleet()
        self.groups = Groups(self.policy.groups)
        self.out = ClusterOutput(partition)
        self._policies: list[tuple[int, str]] = []
        self._clock_ms = 0  # the stream clock: running maximum of the append times
        self._deadlines: list[tuple[int, str]] = []  # a heap; what its case no longer bears out is void
        self._next_offset = 0
        self._newest: dict[tuple[str, int], Place] = {}
        self._touched: dict[str, None] = {}  # members whose decision may change, in order
        self._handle: dict[type[Any], Callable[[Any], None]] = {
            ConditionChange: self._judged,
            Gone: self._gone,
            Inventory: self._group_event,
            LinkStatus: self._group_event,
            Bandwidth: self._group_event,
            Placement: self._group_event,
            Operator: self._operator,
            PolicyChange: self._change_policy,
            Tick: lambda tick: None,
        }

    # --- the contract --------------------------------------------------------------------------------------

    def step(self, records: Sequence[Record]) -> list[Output]:
        outputs: list[Output] = []
        for record in records:
            self.out.begin(record)
            self._pass_time(record.ts)
            try:
                self._check_fresh(record)
                event = fleet_event(record)
            except (ValueError, OverflowError, RecursionError) as error:
                self.out.dead_letter(complaint(record, error))
            else:
                self._handle[type(event)](event)
                if not isinstance(event, Bandwidth):  # a tool measures many pairs at once: they are judged together
                    self._settle()
            outputs += self.out.take()
            self._next_offset = record.offset + 1
        return outputs

    def checkpoint(self) -> Checkpoint:
        members = [self.fleet.members[key] for key in sorted(self.fleet.members)]
        newest = [(stage, partition, place) for (stage, partition), place in sorted(self._newest.items())]
        policy = msgspec.to_builtins(self.policy)
        saved = Saved(self._clock_ms, policy, self.policy_id, self._policies, members, newest, self.groups.save())
        return checkpoints.pack(VERSION, self._next_offset, saved)

    def restore(self, checkpoint: Checkpoint) -> None:
        saved: Saved = checkpoints.unpack(VERSION, checkpoint, Saved)
        self.policy = msgspec.convert(known(saved.policy, Policy), Policy)
        self.policy_id, self._policies = saved.policy_id, saved.policies
        self._clock_ms = saved.clock_ms
        self._newest = {(stage, partition): place for stage, partition, place in saved.newest}
        self._next_offset = checkpoint.next_offset
        self.fleet = Fleet(saved.members)
        self.groups = Groups(self.policy.groups, saved.groups)
        for gpu in self.groups.gpus:
            self.groups.recall(gpu, cluster_groups.presence(self.fleet.members.get(gpu)))
        self._deadlines = []
        for member in saved.members:
            self._schedule(member.case)

    # --- records -------------------------------------------------------------------------------------------

    def _pass_time(self, ts: int) -> None:
        self._clock_ms = max(self._clock_ms, ts)
        while (at_ms := self._due_ms()) is not None and at_ms <= self._clock_ms:
            self.out.now_ms = at_ms
            if at_ms == self.groups.due_ms:
                self._settle()
                continue
            key = heapq.heappop(self._deadlines)[1]
            member = self.fleet.members.get(key)
            if member is not None and member.case.deadline_ms == at_ms:
                self._deliver(member, case.Deadline(key, at_ms))
                self._settle()
        self.out.now_ms = self._clock_ms
        if self.groups.expire(self._clock_ms):
            self._settle()

    def _due_ms(self) -> int | None:
        """When the next deadline is, or the next group's turn, which comes before deadlines of the same time."""
        group_ms = self.groups.due_ms
        if not self._deadlines:
            return group_ms
        deadline_ms = self._deadlines[0][0]
        return deadline_ms if group_ms is None else min(group_ms, deadline_ms)

    def _check_fresh(self, record: Record) -> None:
        """A derived record that comes again, however the log has come by it, would turn the fleet back in time.

        Raises ValueError.
        """
        if record.origin:
            stage, partition, offset, ordinal, generation = record.origin
            place, newest = Place(generation, offset, ordinal), self._newest.get((stage, partition))
            if newest and place <= newest:
                come_to = f"{stage}/{partition} has come to {newest.offset}.{newest.ordinal}"
                raise ValueError(f"said before: {come_to}, and says {offset}.{ordinal} again")
            self._newest[stage, partition] = place

    def _judged(self, change: ConditionChange) -> None:
        member, first, former = self.fleet.arrive(change)
        if former is not None:  # its UUID is known now: readers find its state under the new key
            self.out.tombstone(former)
            self._schedule(member.case)
            if member.case.open:
                self.out.eviction(member, f"was {former.key}")
        if first:
            for neighbour in self.fleet.neighbours(member):
                if neighbour.case.takes_node:
                    self._node_goes(member, neighbour.case.cause, neighbour.case.incident)
        self._judge(member)

    def _gone(self, gone: Gone) -> None:
        member = self.fleet.find(gone.node, gone.uuid, gone.bdf)
        if member is None:
            return  # never judged: there is nothing to end
        if member.change.node != gone.node or member.change.bdf not in ("", gone.bdf):
            return  # it has already spoken from the slot that it was moved to
        self._deliver(member, case.Left(member.key, self.out.now_ms))
        self.out.tombstone(member)
        self.fleet.remove(member.key)
        self.groups.forget(member.key)

    def _operator(self, word: Operator) -> None:
        member = self.fleet.find(word.node, word.uuid, word.bdf)
        if word.action in ("maintenance", "end-maintenance"):
            return  # the node stage judges by it
        if word.action != "restore":
            self.out.dead_letter(f"unknown operator action {word.action!r}")
        elif member is None:
            self.out.dead_letter(f"restore of an unknown GPU: uuid {word.uuid!r}, {word.node}/{word.bdf}")
        else:
            note = f"by {word.author or 'an operator'}" + (f": {word.note}" if word.note else "")
            member.spent = self._stops(member)
            self.fleet.end_wait(member)
            self._deliver(member, case.Restored(member.key, self.out.now_ms, note))

    def _group_event(self, event: Inventory | LinkStatus | Bandwidth | Placement) -> None:
        try:
            gpus = cluster_groups.take(event, self.groups, self.fleet, self.out.now_ms)
        except ValueError as error:
            self.out.dead_letter(str(error))
            return
        for gpu in gpus:
            self._see(gpu)

    def _change_policy(self, change: PolicyChange) -> None:
        identity = (change.ts, change.id)
        if identity in self._policies:
            return  # another partition's copy; told by its time too, so that an earlier policy can come back
        self._policies = [*self._policies, identity][-POLICIES_REMEMBERED:]
        try:
            self.policy = msgspec.convert(change.document.get("cluster", {}), Policy)
        except msgspec.ValidationError as error:
            self.out.dead_letter(f"policy {change.id}: cluster: {error}")
            return
        self.policy_id = change.id
        self.groups.change_policy(self.policy.groups)
        for key in sorted(self.fleet.members):
            self._judge(self.fleet.members[key])

    # --- judgement -> case ---------------------------------------------------------------------------------

    def _judge(self, member: Member) -> None:
        """Hold the newest judgement against the policy; a removal still has to be admitted (`_settle`)."""
        stops = self._stops(member)
        if stops and not member.spent and not member.case.open:
            self.fleet.waiting.add(member.key)
        else:
            self.fleet.end_wait(member)
        if member.case.open:
            if stops:
                self._deliver(member, self._failed(member))
            elif member.change.condition is not Condition.UNKNOWN:
                self._deliver(member, case.Recovered(member.key, self.out.now_ms))
        self._touch(member)

    def _node_goes(self, member: Member, cause: str, incident: str) -> None:
        failed = Failed(
            member.key,
            self.out.now_ms,
            action=Action.REMOVE_NODE,
            cause=f"node removed: {cause}",
            fault="node_removed",
            hard=True,
            bystander=True,
            incident=incident,
        )
        self._deliver(member, failed)

    def _deliver(self, member: Member, event: Event) -> None:
        before = member.case
        try:
            member.case, intents = case.advance(before, event, self.policy)
        except AssertionError as broken:
            why = f"broken invariant: {broken}"
            self.out.dead_letter(why)
            member.case, intents = case.quarantine(before, self.out.now_ms, why)
        if member.case.open:
            self.fleet.end_wait(member)
        if member.case.deadline_ms != before.deadline_ms:
            self._schedule(member.case)
        self._touch(member)
        for intent in intents:
            if isinstance(intent, Announce):
                self.out.eviction(member, intent.detail)
            elif isinstance(intent, RemoveNode):
                for neighbour in self.fleet.neighbours(member):
                    self._node_goes(neighbour, intent.cause, intent.incident)
            else:
                self.out.dead_letter(intent.why)

    def _touch(self, member: Member) -> None:
        self.fleet.note(member)
        self._touched[member.key] = None

    def _schedule(self, case: Case) -> None:
        if case.deadline_ms is not None:
            heapq.heappush(self._deadlines, (case.deadline_ms, case.gpu))

    # --- case -> decision ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Admit removals, firm ones first, then the worst score; judge groups; then decide what has changed."""
        members = self.fleet.members
        if self.fleet.waiting:
            self._admit()
        while self._judge_groups():  # a GPU that goes for its group's sake may change another group
            if self.fleet.waiting:
                self._admit()
        touched, self._touched = self._touched, {}
        for key in touched:
            if key in members:
                member = members[key]
                member.weight = self._weight(member)
                self.out.decision(member, member.weight, self.policy, self.policy_id)

    def _judge_groups(self) -> bool:
        """Tell groups who has come and gone, and members what they are to blame for; whether there was any news."""
        for key in self._touched:
            self._see(key)
        told = False
        for news in self.groups.judge(self.out.now_ms):
            told = True
            self.out.group(news.group, news.verdict, self.policy_id)
            for member in cluster_groups.concerned(news, self.fleet, self.out.now_ms):
                self._judge(member)
        return told

    def _see(self, key: str) -> None:
        if key in self.groups:
            self.groups.see(key, cluster_groups.presence(self.fleet.members.get(key)))

    def _admit(self) -> None:
        """Those that waited before wait on, and cost nothing, until there is room."""
        members, waiting = self.fleet.members, self.fleet.waiting
        room = not self._held_by(discretionary=True)
        line = [members[key].urgency for key in (waiting if room else waiting & self._touched.keys())]
        heapq.heapify(line)
        held_by = ""
        while line and not held_by:
            discretionary, _, key = heapq.heappop(line)
            held_by = self._held_by(discretionary)
            if not held_by:
                self._deliver(members[key], self._failed(members[key]))
        for key in waiting & self._touched.keys():
            members[key].held_by = held_by

    def _held_by(self, discretionary: bool) -> str:
        return admit(Removal(discretionary), self.fleet.capacity, self.policy)

    def _weight(self, member: Member) -> float:
        if member.case.open:
            return 0.0
        if member.change.condition is Condition.UNKNOWN:
            return member.weight or 0.0  # frozen; nobody has ever known it: no traffic
        if self._stops(member):  # held back, or overruled until it is judged again
            return self.policy.weight_zero_at if member.weight is None else member.weight
        return self.policy.weight(member.change.held)

    def _stops(self, member: Member) -> bool:
        return self.policy.stops(member.change) or cluster_groups.asked_out(member, self.policy)

    def _failed(self, member: Member) -> Failed:
        change, now_ms = member.change, self.out.now_ms
        if not self.policy.stops(change):
            return cluster_groups.failed(member, now_ms)
        return Failed(
            member.key,
            now_ms,
            action=change.action,
            cause=_cause(change),
            fault=cluster_groups.fault(change.reasons),
            hard=change.hard,
            corruption=change.corruption,
            incident=change.incident,
        )


def _cause(change: ConditionChange) -> str:
    worst = cluster_groups.worst(change.reasons)
    return f"{change.condition}, no reason given" if worst is None else worst.text or f"{worst.signal} {worst.level}"
