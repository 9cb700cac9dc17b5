"""Between tensor-parallel groups and the GPUs of the fleet: who is present, and what a verdict says of whom."""

from __future__ import annotations

from processors.case import Failed
from processors.cluster_policy import Policy
from processors.fleet import Fleet, Member
from processors.group import Presence
from processors.groups import Groups, News
from schemas.records import Bandwidth, GroupVerdict, Inventory, LinkStatus, Placement, Reason, gpu_key
from schemas.states import Action, Condition, GroupAction

FAULT = "tp_group"
_OF_A_LINK = ("xid_74", "nvlink_crc")  # what a GPU also shows when its peer has failed
_LEVELS = {
    GroupAction.MONITOR: "warning",
    GroupAction.SCHEDULE_MAINTENANCE: "warning",
    GroupAction.EVICT_FROM_GROUP: "evict",
    GroupAction.REPLACE: "evict",
}


def presence(member: Member | None) -> Presence:
    """A GPU that is out for its group's sake alone is not lost: else it could never be found sound again."""
    if member is None:
        return Presence.UNKNOWN
    change, case = member.change, member.case
    out = case.open and case.fault != FAULT
    if out or change.condition is Condition.FAILED or change.hard or change.corruption:
        return Presence.LOST_BY_LINK if (case.fault if out else fault(change.reasons)) in _OF_A_LINK else Presence.LOST
    return Presence.UNKNOWN if change.condition is Condition.UNKNOWN else Presence.FINE


def asked_out(member: Member, policy: Policy) -> bool:
    """Its group cannot go on with it, and the policy lets that take it out of service."""
    return policy.groups.evict and any(reason.level == "evict" for reason in member.groups.values())


def failed(member: Member, now_ms: int) -> Failed:
    """Evidence against a GPU that is asked out."""
    reason = next(reason for _, reason in sorted(member.groups.items()) if reason.level == "evict")
    return Failed(member.key, now_ms, action=Action.EVICT, cause=reason.text, fault=FAULT, evidence_ms=reason.since)


def concerned(news: News, fleet: Fleet, now_ms: int) -> list[Member]:
    """The members that a verdict says other things of than before, already told."""
    before, now = _blamed(news.before), _blamed(news.verdict)
    found = []
    for gpu in sorted(before | now):
        member = fleet.members.get(gpu)
        if member is None:
            continue
        if gpu in now and news.verdict is not None:
            member.groups[news.group] = _reason(news.verdict, now_ms)
        else:
            member.groups.pop(news.group, None)
        found.append(member)
    return found


def take(event: Inventory | LinkStatus | Bandwidth | Placement, groups: Groups, fleet: Fleet, now_ms: int) -> list[str]:
    """Take in what concerns groups; returns the GPUs whose presence the groups have to be told.

    A clock that is ahead counts as now: else nothing said later would ever be newer.
    Raises ValueError: it cannot be, or names a GPU that is not known.
    """
    event.ts = min(event.ts, now_ms)
    if isinstance(event, Inventory):
        groups.take_inventory(event)
    elif isinstance(event, LinkStatus):
        member = None if event.uuid else fleet.find(event.node, "", event.bdf)
        if uuid := event.uuid or (member.change.uuid if member else ""):  # groups name GPUs by UUID alone
            groups.take_status(uuid, event)
    elif isinstance(event, Bandwidth):
        way = (
            event.uuid or _uuid(fleet, event.node, event.bdf),
            event.peer or _uuid(fleet, event.peer_node or event.node, event.peer_bdf),
        )
        groups.measure(way, event.gb_per_s, event.ts)
    else:
        return groups.place(event)
    return []


def worst(reasons: list[Reason]) -> Reason | None:
    """Of equals the oldest."""
    return min(reasons, key=lambda reason: (reason.cap, reason.since, reason.signal), default=None)


def fault(reasons: list[Reason]) -> str:
    """What kind of thing takes the GPU out: few values, whatever was measured."""
    reason = worst(reasons)
    if reason is None:
        return "unknown"
    return f"xid_{reason.value:.0f}" if reason.signal == "xid" and reason.value is not None else reason.signal


def _uuid(fleet: Fleet, node: str, bdf: str) -> str:
    member = fleet.find(node, "", bdf) if bdf else None
    if member is None or not member.change.uuid:
        raise ValueError(f"measured at a GPU that is not known: {gpu_key(node, '', bdf)!r}")
    return member.change.uuid


def _blamed(verdict: GroupVerdict | None) -> set[str]:
    blamed = verdict.blamed if verdict else []
    return {gpu for each in blamed if each.kind == "gpu" for gpu in each.gpus}


def _reason(verdict: GroupVerdict, now_ms: int) -> Reason:
    change = verdict.throughput_change_percent
    cost = "" if change is None else f", throughput {change:+g} %"
    return Reason(
        signal=FAULT,
        level=_LEVELS[verdict.action],
        cap=1.0,
        quantity="gb_per_s",
        value=verdict.all_reduce_gb_per_s,
        unit="GB/s",
        limit=verdict.expected_gb_per_s,
        since=now_ms,
        text=f"to blame for group {verdict.group}: {verdict.action}{cost}",
    )
