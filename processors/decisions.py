"""What is decided: judgements become cases, and cases become decisions as far as the budget allows."""

from __future__ import annotations

import heapq

from processors import admission, case, case_table, cluster_groups, gate, operator_words
from processors.brakes import Brakes
from processors.budget import NODES
from processors.case import Announce, Case, Event, Failed, RemoveNode, of_one
from processors.cluster_output import ClusterOutput
from processors.cluster_policy import Policy
from processors.fleet import Fleet, Member, suspicion
from processors.groups import Groups
from processors.nodes import Nodes
from processors.revalidation import CONFIRMED
from processors.workflow import Workflow
from schemas.records import ConditionChange
from schemas.states import Action, Condition


class Decisions:
    """The fleet with its cases and groups. Once a record is taken in, `settle` decides what that has changed."""

    def __init__(
        self,
        out: ClusterOutput,
        policy: Policy,
        policy_id: str,
        fleet: Fleet,
        groups: Groups,
        nodes: Nodes,
        brakes: Brakes,
    ) -> None:
        self.out = out
        self.policy = policy
        self.policy_id = policy_id
        self.fleet = fleet
        self.groups = groups
        self.brakes = brakes
        brakes.attach(fleet, groups)
        self.workflow = Workflow(self, nodes)
        self.clock_ms = 0  # the stream clock, which deadlines may have yet to catch up with
        self._deadlines: list[tuple[int, str]] = []  # a heap; what its case no longer bears out is void
        self._touched: dict[str, None] = {}  # members whose decision may change, in order
        for gpu in groups.gpus:
            groups.recall(gpu, cluster_groups.presence(fleet.members.get(gpu)))
        for member in fleet.members.values():
            self._schedule(member.case)
            self.workflow.recall(member.case)

    def apply(self, policy: Policy, policy_id: str) -> None:
        """Decide by `policy` from now on, also what was judged before."""
        self.policy, self.policy_id = policy, policy_id
        self.groups.change_policy(policy.groups)
        self.brakes.apply(policy)
        self.workflow.stir()
        if not policy.workflow.enabled:
            self.workflow.withdraw(lambda member: gate.own(member.case, self.out.now_ms, policy).why)
        for key in sorted(self.fleet.members):
            self.judge(self.fleet.members[key])

    def pass_time(self, clock_ms: int) -> None:
        self.clock_ms = clock_ms
        while (at_ms := self._due_ms()) is not None and at_ms <= clock_ms:
            self.out.now_ms = at_ms
            if at_ms == self.groups.due_ms:
                self.settle()
                continue
            key = heapq.heappop(self._deadlines)[1]
            member = self.fleet.members.get(key)
            if member is not None and member.case.deadline_ms == at_ms:
                self.deliver(member, case.Deadline(key, at_ms))
                self.settle()
        self.out.now_ms = clock_ms
        self.brakes.look(clock_ms)
        expired = [self.groups.expire(clock_ms), operator_words.expire(self, clock_ms)]
        if any([*expired, self.brakes.turned, self.workflow.late]):
            self.settle()

    def _due_ms(self) -> int | None:
        """When the next deadline is, or the next group's turn, which comes before deadlines of the same time."""
        group_ms = self.groups.due_ms
        if not self._deadlines:
            return group_ms
        deadline_ms = self._deadlines[0][0]
        return deadline_ms if group_ms is None else min(group_ms, deadline_ms)

    # --- judgement -> case ---------------------------------------------------------------------------------

    def judge(self, member: Member) -> None:
        """Hold the newest judgement against the policy; a removal still has to be admitted (`settle`)."""
        stops = self.stops(member)
        if stops and not member.spent and not member.case.open:
            self.fleet.waiting.add(member.key)
        else:
            self.fleet.end_wait(member)
        if member.case.open:
            if stops:
                if cluster_groups.asked_out(member, self.policy) or not self.policy.only_waits(member.change):
                    self.deliver(member, self._failed(member))
            elif member.change.condition is not Condition.UNKNOWN:
                self.deliver(member, case.Recovered(member.key, self.out.now_ms))
        elif member.overridden and member.change.condition is not Condition.UNKNOWN:
            member.before = None if self.policy.stops(member.change) else self.policy.weight(member.change.held)
        self.workflow.touch(member)
        self._touch(member)

    def node_goes(self, member: Member, cause: str, incident: str) -> None:
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
        self.deliver(member, failed)

    def come_back(self, member: Member, left: Case) -> None:
        """It had left its slot with this case. What outlives a case counts on, and the suspicion on its outputs."""
        rest, _ = case_table.advance(left, case.Left(left.gpu, self.out.now_ms), self.policy)
        member.case = of_one(member.key, rest, member.case)
        self.adopt(member.case)
        if not left.suspect:
            return
        self.deliver(member, suspicion(left, self.out.now_ms))
        if left.tainted:
            self.deliver(member, case.Validated(member.key, self.out.now_ms, result="corrupt", end=left.corrupt_ms))

    def deliver(self, member: Member, event: Event) -> None:
        before = member.case
        try:
            member.case, intents = case_table.advance(before, event, self.policy)
        except AssertionError as broken:
            why = f"broken invariant: {broken}"
            self.out.dead_letter(why)
            member.case, intents = case_table.quarantine(before, self.out.now_ms, why)
        if member.case.open:
            self.fleet.end_wait(member)
        if member.case is not before:
            if member.case.deadline_ms != before.deadline_ms:
                self._schedule(member.case)
            self.workflow.follow(before, member.case)
            if member.case.cancel not in ("", before.cancel):
                self.workflow.taken_back(member.change.node)
        self._touch(member)
        for intent in intents:
            if isinstance(intent, Announce):
                self.out.eviction(member, intent.detail, self.policy)
            elif isinstance(intent, RemoveNode):
                for neighbour in self.fleet.neighbours(member):
                    self.node_goes(neighbour, intent.cause, intent.incident)
            else:
                self.out.dead_letter(intent.why)

    def _touch(self, member: Member) -> None:
        self.brakes.note(member, self.out.now_ms)
        self._touched[member.key] = None

    def adopt(self, case: Case) -> None:
        """To be told of a case whose GPU has another name now."""
        self._schedule(case)
        self.workflow.follow(None, case)

    def _schedule(self, case: Case) -> None:
        if case.deadline_ms is not None:
            heapq.heappush(self._deadlines, (case.deadline_ms, case.gpu))

    # --- case -> decision ----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Move on cases; admit removals, firm ones first, then the worst score; judge groups; then decide what has
        changed.
        """
        members = self.fleet.members
        self._touched.update(dict.fromkeys(self.brakes.regroup()))
        self._heed_brakes()
        self.workflow.settle()
        if self.fleet.waiting:
            self._admit()
        while any([self._heed_brakes(), self._judge_groups()]):  # who goes for its group's sake may change another one
            self.workflow.settle()
            if self.fleet.waiting:
                self._admit()
        self.workflow.settle()  # who has just been taken out with its node, out of a step that waited
        touched, self._touched = self._touched, {}
        for key in touched:
            if key in members:
                member = members[key]
                member.weight = self._weight(member)
                self.fleet.note(member)
                self.out.decision(member, member.weight, self.policy, self.policy_id)

    def _heed_brakes(self) -> bool:
        """Brakes have come or gone: orders that have not begun are taken back, and all at the second gate ask again."""
        turned, self.brakes.turned = self.brakes.turned, False
        if turned:
            self.workflow.withdraw(self.brakes.stopped)
            self.workflow.stir()
        return turned

    def _judge_groups(self) -> bool:
        """Tell groups who has come and gone, and members what they are to blame for; whether there was any news."""
        for key in self._touched:
            self.see(key)
        told = False
        for news in self.groups.judge(self.out.now_ms):
            told = True
            self.out.group(news.group, news.verdict, self.policy_id)
            for member in cluster_groups.concerned(news, self.fleet, self.out.now_ms):
                self.judge(member)
        return told

    def see(self, key: str) -> None:
        if key in self.groups:
            self.groups.see(key, cluster_groups.presence(self.fleet.members.get(key)))

    def _admit(self) -> None:
        """Those that waited before wait on, and cost nothing, until what holds them back lets go."""
        while True:
            candidates = admission.candidates(self.fleet, self.brakes, self._touched.keys())
            wide = self.brakes.wide()
            for member in candidates:
                held_by = self.brakes.opening(member, wide)
                if held_by:
                    self.fleet.hold(member, held_by)
                else:
                    self.deliver(member, self._failed(member))
                    wide = self.brakes.wide()
            if not (self.fleet.tally.out.begun and NODES in self.fleet.held):
                return

    def _gate(self, member: Member) -> str:
        """The second gate: what a drained GPU waits for before it is removed and reset; "" = it may.

        Asked again before each order to reset it; it is itself `disrupted` then.
        """
        own = gate.own(member.case, self.out.now_ms, self.policy)
        return own.why or self.brakes.step(member, self.out.now_ms)

    def _weight(self, member: Member) -> float:
        if member.case.open:
            return 0.0
        if member.overridden and member.override is not None and member.override.weight is not None:
            return member.override.weight
        if member.change.condition is Condition.UNKNOWN:
            return member.weight or 0.0  # frozen; nobody has ever known it: no traffic
        if self.stops(member):  # held back, or overruled until it is judged again
            return self.policy.weight_zero_at if member.weight is None else member.weight
        return self.policy.weight(member.change.held)

    def stops(self, member: Member) -> bool:
        if member.overridden:
            return False
        return (
            member.drain is not None
            or self.policy.stops(member.change)
            or cluster_groups.asked_out(member, self.policy)
        )

    def _failed(self, member: Member) -> Failed:
        change, now_ms = member.change, self.out.now_ms
        if not self.policy.stops(change):
            if member.drain is not None:
                return operator_words.failed(member, member.drain, now_ms)
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
            evidence_ms=change.evidence,
            corrupt_ms=_corrupt_ms(change),
        )


def _corrupt_ms(change: ConditionChange) -> int:
    """The newest evidence of corruption; where no reason tells, the newest evidence."""
    return max((reason.since for reason in change.reasons if reason.signal in CONFIRMED), default=change.evidence)


def _cause(change: ConditionChange) -> str:
    worst = cluster_groups.worst(change.reasons)
    return f"{change.condition}, no reason given" if worst is None else worst.text or f"{worst.signal} {worst.level}"
