"""What the cluster stage says: outputs of one input record, numbered as they come, encoded."""

from __future__ import annotations

from typing import Any

import msgspec

from processors.brakes import Brakes
from processors.brakes_told import look
from processors.case import drastic, harsher
from processors.cluster_policy import Policy
from processors.fleet import Member, Shown
from processors.operator_words import in_words
from schemas import topics
from schemas.dead_letters import letter
from schemas.log import Output, Record
from schemas.records import Decision, Eviction, GroupVerdict, InstanceHealth, encode
from schemas.states import Action, Condition


class ClusterOutput:
    """record: the input record that causes what is said now. now_ms: the moment it is said about."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self.record = Record(-1, 0, "", "", b"")
        self.now_ms = 0
        self._said: list[Output] = []

    def begin(self, record: Record) -> None:
        self.record, self._said = record, []

    def take(self) -> list[Output]:
        return self._said

    def decision(self, member: Member, weight: float, policy: Policy, policy_id: str) -> None:
        """Say it where it differs visibly from the one before."""
        cause = member.case.cause if member.case.open else ""
        overridden = not member.case.open and member.overridden
        if overridden and member.override is not None:
            cause = in_words(member.override)
        decision = Decision(
            **self._identity(member),
            weight=weight,
            score=member.change.score,
            condition=member.change.condition,
            state=member.case.state,
            action=_action(member),
            held_by="override" if overridden else member.held_by,
            cause=cause,
            reasons=[*member.change.reasons, *(reason for _, reason in sorted(member.groups.items()))],
            policy=policy_id,
            incident=_incident(member),
            instances=[_weighted(instance, weight, policy) for instance in member.change.instances],
        )
        shown = Shown.of(decision)
        if shown != member.shown:
            member.shown = shown
            self._say(topics.DECISIONS, member.key, "decision", encode(decision), urgent=True)

    def eviction(self, member: Member, detail: str, policy: Policy) -> None:
        case = member.case
        eviction = Eviction(
            **self._identity(member),
            state=case.state,
            action=case.action,
            cause=case.cause,
            fault=case.fault,
            opened=case.opened_ms,
            detail=detail,
            incident=case.incident,
            waits=case.waits,
            deadline=case.deadline_ms,
            in_flight=case.in_flight,
            attempts=case.lately(self.now_ms, policy),
            order=case.order,
            cancel=case.cancel,
            step=case.step,
            by_hand=case.open and not (case.planned or policy.workflow.enabled),
        )
        self._say(topics.EVICTIONS, member.key, "eviction", encode(eviction), urgent=True)

    def group(self, name: str, verdict: GroupVerdict | None, policy_id: str) -> None:
        """The verdict on a group; None: there is no such group any more."""
        if verdict is None:
            self._say(topics.GROUPS, name, "tombstone", b"", urgent=True)
        else:
            verdict.ts, verdict.policy = self.now_ms, policy_id
            self._say(topics.GROUPS, name, "group", encode(verdict), urgent=True)

    def brakes(self, brakes: Brakes, policy_id: str) -> None:
        """What holds changes back, where that is news."""
        told = look(brakes, self.now_ms, policy_id)
        if told is not None:
            self._say(topics.BRAKES, told.cluster, "brakes", encode(told), urgent=True)

    def tombstone(self, member: Member) -> None:
        """Nothing is known under the member's key any more."""
        self._say(topics.DECISIONS, member.key, "tombstone", b"", urgent=True)
        if member.case.opened_ms:
            self._say(topics.EVICTIONS, member.key, "tombstone", b"", urgent=True)

    def dead_letter(self, why: str) -> None:
        source = f"{topics.FLEET_EVENTS}/{self._partition}/{self.record.offset}"
        self._say(topics.DEAD_LETTER, source, "dead-letter", encode(letter(source, self.record, why)))

    def _identity(self, member: Member) -> dict[str, Any]:
        change = member.change
        return {
            "ts": self.now_ms,
            "cluster": change.cluster,
            "node": change.node,
            "uuid": change.uuid,
            "bdf": change.bdf,
        }

    def _say(self, topic: str, key: str, kind: str, value: bytes, urgent: bool = False) -> None:
        record, ordinal = self.record, len(self._said)
        self._said.append(Output(topic, key, kind, value, record.ts, record.offset, ordinal, urgent))


def _incident(member: Member) -> str:
    """Its own, else that of the fault that takes its node out. A GPU that is well may be part of one, and is well."""
    own = "" if member.change.condition is Condition.HEALTHY else member.change.incident
    return own or (member.case.incident if member.case.open else "")


def _weighted(instance: InstanceHealth, weight: float, policy: Policy) -> InstanceHealth:
    """With a weight of its own, which is never above its GPU's."""
    own = 0.0 if instance.corruption else policy.weight(instance.score)
    return msgspec.structs.replace(instance, weight=min(weight, own))


def _action(member: Member) -> Action:
    """The case says what to do; without one, the judgement does (behind blanks: at least have a look)."""
    if member.case.open:
        return member.case.action
    if member.spent:
        return Action.MONITOR
    if member.held_by:
        return drastic(member.change.action)
    if member.change.condition is Condition.UNKNOWN:
        return harsher(member.change.action, Action.MONITOR)
    return member.change.action
