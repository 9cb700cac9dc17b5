"""The cluster stage: what nodes and operators say about GPUs becomes cases, and weights for schedulers.

Order matters in two places. Deadlines fire between records, before the record whose append time passed them,
by (deadline, key). And an operator's "restore" comes before the node's next judgement: the node stage clears
its latches on the same record and judges anew right behind it. So a restore ends the case and overrules the
standing judgement, while the weight waits for the next one; a GPU that still fails then gets a new case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from processors import case, checkpoints, cluster_groups
from processors import policy as policies
from processors.brakes import Brakes, BrakesSaved
from processors.cluster_output import ClusterOutput
from processors.cluster_policy import Policy
from processors.decisions import Decisions
from processors.fleet import Fleet, Member
from processors.fleet_events import fleet_event
from processors.groups import Groups, GroupsSaved
from processors.nodes import Node, Nodes
from processors.operator_words import obey
from processors.versions import complaint
from schemas.log import Checkpoint, Output, Record
from schemas.policy import known
from schemas.records import (
    Bandwidth,
    CommandResult,
    ConditionChange,
    Gone,
    Inventory,
    LinkStatus,
    Operator,
    Placement,
    PolicyChange,
    Revalidated,
    Serving,
    Tick,
)

VERSION = 2
POLICIES_REMEMBERED = 64  # copies of one change come from every partition, some late


class Place(NamedTuple):
    """Where a derived record comes from, within one partition of one stage; later ones are greater."""

    generation: int
    offset: int
    ordinal: int


class Saved(msgspec.Struct):
    """A checkpoint's content. policies: (event time, id) of the changes that were taken, oldest first. newest: of
    each stage and partition that has spoken, where its newest record comes from. left: as in `fleet.Fleet`.
    """

    clock_ms: int
    policy: dict[str, Any]
    policy_id: str
    policies: list[tuple[int, str]]
    members: list[Member]
    newest: list[tuple[str, int, Place]]
    groups: GroupsSaved
    nodes: dict[str, Node] = {}
    brakes: BrakesSaved = msgspec.field(default_factory=BrakesSaved)
    left: dict[str, case.Case] = {}


class ClusterTask:
    """One partition of the cluster stage (see `processors.task.Task`); it alone writes `decisions`."""

    def __init__(self, partition: int = 0) -> None:
        self.partition = partition
        self.out = ClusterOutput(partition)
        policy = Policy()
        default = policies.from_document("default", {}).id
        self._decide_with(Decisions(self.out, policy, default, Fleet(), Groups(policy.groups), Nodes(), Brakes(policy)))
        self._policies: list[tuple[int, str]] = []
        self._clock_ms = 0  # the stream clock: running maximum of the append times
        self._next_offset = 0
        self._newest: dict[tuple[str, int], Place] = {}
        self._handle: dict[type[Any], Callable[[Any], None]] = {
            ConditionChange: self._judged,
            Gone: self._gone,
            Inventory: self._group_event,
            LinkStatus: self._group_event,
            Bandwidth: self._group_event,
            Placement: self._group_event,
            CommandResult: lambda result: self.decisions.workflow.take_result(result),
            Serving: lambda serving: self.decisions.workflow.take_serving(serving),
            Revalidated: lambda checked: self.decisions.workflow.take_check(checked),
            Operator: self._operator,
            PolicyChange: self._change_policy,
            Tick: lambda tick: None,
        }

    def _decide_with(self, decisions: Decisions) -> None:
        self.decisions, self.fleet, self.groups = decisions, decisions.fleet, decisions.groups

    # --- the contract --------------------------------------------------------------------------------------

    def step(self, records: Sequence[Record]) -> list[Output]:
        outputs: list[Output] = []
        for record in records:
            self.out.begin(record)
            self._clock_ms = max(self._clock_ms, record.ts)
            self.decisions.pass_time(self._clock_ms)
            try:
                self._check_fresh(record)
                event = fleet_event(record)
            except (ValueError, OverflowError, RecursionError) as error:
                self.out.dead_letter(complaint(record, error))
            else:
                self._handle[type(event)](event)
                if not isinstance(event, Bandwidth):  # a tool measures many pairs at once: they are judged together
                    self.decisions.settle()
            self.out.brakes(self.decisions.brakes, self.decisions.policy_id)
            outputs += self.out.take()
            self._next_offset = record.offset + 1
        return outputs

    def checkpoint(self) -> Checkpoint:
        members = [self.fleet.members[key] for key in sorted(self.fleet.members)]
        newest = [(stage, partition, place) for (stage, partition), place in sorted(self._newest.items())]
        policy, policy_id = msgspec.to_builtins(self.decisions.policy), self.decisions.policy_id
        groups, nodes = self.groups.save(), self.decisions.workflow.nodes.save()
        brakes = self.decisions.brakes.save()
        left = {key: self.fleet.left[key] for key in sorted(self.fleet.left)}
        known = members, newest, groups, nodes, brakes, left
        saved = Saved(self._clock_ms, policy, policy_id, self._policies, *known)
        return checkpoints.pack(VERSION, self._next_offset, saved)

    def restore(self, checkpoint: Checkpoint) -> None:
        saved: Saved = checkpoints.unpack(VERSION, checkpoint, Saved)
        policy = msgspec.convert(known(saved.policy, Policy), Policy)
        fleet, groups = Fleet(saved.members, saved.left), Groups(policy.groups, saved.groups)
        brakes = Brakes(policy, saved.brakes)
        self._decide_with(Decisions(self.out, policy, saved.policy_id, fleet, groups, Nodes(saved.nodes), brakes))
        self._policies = saved.policies
        self._clock_ms = saved.clock_ms
        self._newest = {(stage, partition): place for stage, partition, place in saved.newest}
        self._next_offset = checkpoint.next_offset

    # --- records -------------------------------------------------------------------------------------------

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
            self.decisions.workflow.forget(former.case)
            self.decisions.adopt(member.case)
            if member.case.open:
                self.out.eviction(member, f"was {former.key}", self.decisions.policy)
        if left := self.fleet.left.pop(member.key, None):
            self.decisions.come_back(member, left)
        if first:
            for neighbour in self.fleet.neighbours(member):
                if neighbour.case.takes_node:
                    self.decisions.node_goes(member, neighbour.case.cause, neighbour.case.incident)
        self.decisions.judge(member)

    def _gone(self, gone: Gone) -> None:
        member = self.fleet.find(gone.node, gone.uuid, gone.bdf)
        if member is None:
            return  # never judged: there is nothing to end
        if member.change.node != gone.node or member.change.bdf not in ("", gone.bdf):
            return  # it has already spoken from the slot that it was moved to
        if member.change.uuid and member.case.opened_ms:
            self.fleet.left[member.key] = member.case
        self.decisions.deliver(member, case.Left(member.key, self.out.now_ms))
        self.out.tombstone(member)
        self.fleet.remove(member.key)
        self.decisions.workflow.forget(member.case)
        self.groups.forget(member.key)

    def _operator(self, word: Operator) -> None:
        obey(word, self.out.record.ts, self.decisions)

    def _group_event(self, event: Inventory | LinkStatus | Bandwidth | Placement) -> None:
        try:
            gpus = cluster_groups.take(event, self.groups, self.fleet, self.out.now_ms)
        except ValueError as error:
            self.out.dead_letter(str(error))
            return
        for gpu in gpus:
            self.decisions.see(gpu)
        if isinstance(event, Inventory):
            self.decisions.workflow.take_inventory(event)

    def _change_policy(self, change: PolicyChange) -> None:
        identity = (change.ts, change.id)
        if identity in self._policies:
            return  # another partition's copy; told by its time too, so that an earlier policy can come back
        self._policies = [*self._policies, identity][-POLICIES_REMEMBERED:]
        try:
            policy = msgspec.convert(change.document.get("cluster", {}), Policy)
        except msgspec.ValidationError as error:
            self.out.dead_letter(f"policy {change.id}: cluster: {error}")
            return
        self.decisions.apply(policy, change.id)
