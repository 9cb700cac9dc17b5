"""The verdict on one tensor-parallel group, from what is known of its GPUs: pure, and independent of their order."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from processors.alike import Pairs, pairs
from processors.blame import blame
from processors.cluster_policy import GroupsPolicy
from processors.links import GpuLinks, Pair, Seen
from schemas.all_reduce import LOST, MEASURED_ON, Impact, impact
from schemas.records import Blame, GroupIssue, GroupVerdict, Placement
from schemas.states import Condition, GroupAction

ISSUES_MAX = 64
_HARSHNESS = {action: rank for rank, action in enumerate(GroupAction)}
_CONDITIONS = {
    GroupAction.NONE: Condition.HEALTHY,
    GroupAction.MONITOR: Condition.WARNING,
    GroupAction.SCHEDULE_MAINTENANCE: Condition.DEGRADED,
    GroupAction.EVICT_FROM_GROUP: Condition.FAILED,
    GroupAction.REPLACE: Condition.FAILED,
}


class Presence(StrEnum):
    """Whether a group can count on a GPU. LOST_BY_LINK: lost by an NVLink fault, which a lost peer may have caused."""

    FINE = "fine"
    UNKNOWN = "unknown"
    LOST = "lost"
    LOST_BY_LINK = "lost-by-link"


_LOST = (Presence.LOST, Presence.LOST_BY_LINK)
GRAVITY = {Presence.FINE: 0, Presence.UNKNOWN: 1, Presence.LOST_BY_LINK: 2, Presence.LOST: 3}


class Facts(NamedTuple):
    """What is known of the group's GPUs. measured: (from, to) -> GB/s, of those that were measured lately."""

    presence: Mapping[str, Presence]
    links: Mapping[str, GpuLinks]
    measured: Mapping[tuple[str, str], float]


class Found(NamedTuple):
    """Pairs, the share of the expected bandwidth that counts (1.0 = as it shall be), and what that costs."""

    pairs: Pairs
    share: float
    impact: Impact

    @property
    def sound(self) -> bool:
        return self.share >= 1.0


def harsher(one: GroupAction, other: GroupAction) -> GroupAction:
    return max(one, other, key=_HARSHNESS.__getitem__)


def judge(placement: Placement, facts: Facts, policy: GroupsPolicy) -> GroupVerdict:
    """The verdict; whoever says it adds time and policy."""
    lost = sorted(gpu for gpu in placement.gpus if _presence(gpu, facts) in _LOST)
    here = sorted(set(placement.gpus).difference(lost))
    seen = {gpu: Seen.of(_links(gpu, facts)) for gpu in here}
    return conclude(placement, facts, policy, lost, seen, pairs(seen, facts.measured))


def conclude(
    placement: Placement,
    facts: Facts,
    policy: GroupsPolicy,
    lost: Sequence[str],
    seen: Mapping[str, Seen],
    between: Sequence[Pairs],
) -> GroupVerdict:
    """lost: sorted. seen: of all others, sorted. between: all pairs of those; how they are put together never shows."""
    found = [
        _found(each, policy) for each in between if each.first.kind == "nvlink" and each.first.gb_per_s is not None
    ]
    untold = [each for each in between if _untold(each.first)]
    unknown = _unknown(seen, untold, facts)
    issues = [*_lost_issues(lost), *unknown, *_topology(seen)]
    low = _low(found, between, policy)
    worst = min(found, key=lambda each: (each.share, each.pairs.first.a, each.pairs.first.b), default=None)
    count = len(issues) + sum(each.number for _, each in low)
    issues += _pair_issues(low, ISSUES_MAX - len(issues))
    action = GroupAction.MONITOR if count else GroupAction.NONE
    if worst:
        action = harsher(action, worst.impact.action)
    if lost:
        action = GroupAction.REPLACE
    blamed = _blamed(lost, seen, found, facts)
    verdict = GroupVerdict(
        ts=0,
        cluster=placement.cluster,
        node=placement.node,
        group=placement.group,
        gpus=list(placement.gpus),
        model=placement.model,
        namespace=placement.namespace,
        condition=Condition.UNKNOWN if unknown and not lost else _CONDITIONS[action],
        action=action,
        blamed=blamed,
        evict=_evict(action, blamed),
        issues=issues[:ISSUES_MAX],
        more_issues=max(count - ISSUES_MAX, 0),
    )
    if lost:
        _tell_lost(verdict, worst)
    elif worst and not unknown:
        _tell(verdict, worst)
    return verdict


def _tell_lost(verdict: GroupVerdict, worst: Found | None) -> None:
    verdict.basis = "lost"
    verdict.all_reduce_gb_per_s = 0.0
    verdict.expected_gb_per_s = worst.pairs.first.expected_gb_per_s if worst else None
    verdict.throughput_change_percent = LOST.throughput_change_percent


def _tell(verdict: GroupVerdict, worst: Found) -> None:
    first = worst.pairs.first
    verdict.worst = [first.a, first.b]
    verdict.basis = _basis(first)
    verdict.all_reduce_gb_per_s = _rounded(first.gb_per_s)
    verdict.expected_gb_per_s = _rounded(first.expected_gb_per_s)
    verdict.decode_latency_ms = worst.impact.decode_latency_ms
    verdict.throughput_change_percent = worst.impact.throughput_change_percent
    verdict.scaled = first.scaled_from != MEASURED_ON


def _found(each: Pairs, policy: GroupsPolicy) -> Found:
    """No tool measures all that a link can carry: what is measured above the limit is as it shall be."""
    first, gb_per_s = each.first, each.first.gb_per_s
    assert gb_per_s is not None, each
    share = gb_per_s / first.expected_gb_per_s
    if first.measured_gb_per_s is not None and share >= policy.pair_share_min:
        share = 1.0
    return Found(each, share, impact(share, first.fallback_gb_per_s / first.expected_gb_per_s))


def _untold(each: Pair) -> bool:
    return each.kind == "unknown" or (each.kind == "nvlink" and each.gb_per_s is None)


# --- what is wrong ------------------------------------------------------------------------------------------


def _lost_issues(lost: Sequence[str]) -> list[GroupIssue]:
    return [GroupIssue(kind="lost", gpus=[gpu], text=f"{gpu} has failed or is out of service") for gpu in lost]


def _unknown(seen: Mapping[str, Seen], untold: Sequence[Pairs], facts: Facts) -> list[GroupIssue]:
    """GPUs of which too little is known, each once, with the first thing that is missing."""
    found = []
    concerned = {gpu for each in untold for gpu in each.gpus}
    for gpu, each in seen.items():
        if _presence(gpu, facts) is Presence.UNKNOWN:
            why = "has not been heard of, or cannot be judged now"
        elif gpu in concerned and each.product is None:
            why = f"is of a model that is not known: {each.links.model!r}"
        elif gpu in concerned and each.links.up is None:
            why = "has told nothing of its NVLinks"
        else:
            continue
        found.append(GroupIssue(kind="unknown", gpus=[gpu], text=f"{gpu} {why}"))
    return found


def _topology(seen: Mapping[str, Seen]) -> list[GroupIssue]:
    found = []
    for gpu, each in seen.items():
        if each.missing:
            up, expected = each.links.up or 0, each.expected or 0
            text = f"{gpu} has {up} of {expected} NVLinks up"
            found.append(
                GroupIssue(
                    kind="topology", gpus=[gpu], measured=float(up), expected=float(expected), unit="links", text=text
                )
            )
    return found


def _low(found: Sequence[Found], between: Sequence[Pairs], policy: GroupsPolicy) -> list[tuple[float, Pairs]]:
    """Pairs below their limit, with their share; those without NVLinks only where they were measured."""
    shares = [(each.share, each.pairs) for each in found]
    for each in between:
        if each.first.kind == "pcie" and each.first.measured_gb_per_s is not None:
            shares.append((each.first.measured_gb_per_s / each.first.expected_gb_per_s, each))
    return [(share, each) for share, each in shares if share < policy.pair_share_min]


def _pair_issues(low: Sequence[tuple[float, Pairs]], room: int) -> list[GroupIssue]:
    """The worst first, as many as there is room for."""
    if room <= 0:
        return []
    entries = ((share, *edge, at) for at, (share, each) in enumerate(low) for edge in each.edges())
    return [_pair_issue(low[at][1].first._replace(a=a, b=b)) for _, a, b, at in heapq.nsmallest(room, entries)]


def _pair_issue(each: Pair) -> GroupIssue:
    got, expected = _rounded(each.gb_per_s), _rounded(each.expected_gb_per_s)
    how = "measured" if each.measured_gb_per_s is not None else f"by {each.links} of {each.links_expected} NVLinks"
    return GroupIssue(
        kind="pair",
        gpus=[each.a, each.b],
        measured=got,
        expected=expected,
        unit="GB/s",
        basis=_basis(each),
        text=f"{each.a} and {each.b}: {got:g} GB/s {how}, {expected:g} expected",
    )


# --- whose fault --------------------------------------------------------------------------------------------


def _blamed(lost: Sequence[str], seen: Mapping[str, Seen], found: Sequence[Found], facts: Facts) -> list[Blame]:
    """A lost GPU before all: what others lack, or why they are lost, may well be its doing."""
    if lost:
        first = [gpu for gpu in lost if _presence(gpu, facts) is Presence.LOST] or lost
        return [Blame(kind="gpu", gpus=[gpu], why="it has failed or is out of service") for gpu in first]
    bad = [edge for each in found if not each.sound for edge in each.pairs.edges()]
    good = [each.pairs.gpus for each in found if each.sound]
    return blame(bad, good, {gpu: each.missing for gpu, each in seen.items()})


def _evict(action: GroupAction, blamed: Sequence[Blame]) -> list[str]:
    if _HARSHNESS[action] < _HARSHNESS[GroupAction.EVICT_FROM_GROUP]:
        return []
    return sorted({gpu for each in blamed if each.kind == "gpu" for gpu in each.gpus})


def _presence(gpu: str, facts: Facts) -> Presence:
    return facts.presence.get(gpu, Presence.UNKNOWN)


def _links(gpu: str, facts: Facts) -> GpuLinks:
    return facts.links.get(gpu) or GpuLinks()


def _basis(each: Pair) -> str:
    return "links" if each.measured_gb_per_s is None else "measured"


def _rounded(gb_per_s: float | None) -> float:
    assert gb_per_s is not None
    return round(gb_per_s, 2)
