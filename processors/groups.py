"""All tensor-parallel groups of a cluster, across its nodes: what is known of their GPUs, and what was last said.

A record touches only the groups of the GPUs that it is about; `judge` gives the verdicts that have changed. A group
is judged at once, and then not again for a second of the stream clock, however much is told: what comes meanwhile
waits for the end of that second. Two things never wait: a new placement, and a GPU that fares worse than any of its
group did when that was judged (unknown, lost by a link, surely lost): what is unknown is never shown as healthy, and
readers are not left to blame a victim.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from processors.cluster_policy import GroupsPolicy
from processors.group import GRAVITY, Facts, Presence, judge
from processors.links import GpuLinks
from schemas.records import GroupVerdict, Inventory, LinkStatus, Placement

GPUS_MAX = 144  # in one group; the largest NVLink domain has 72
WAIT_MS = 1000  # between two judgements of a group
Way = tuple[str, str]  # from a GPU to another one, by UUID


class Measured(msgspec.Struct, frozen=True, array_like=True):
    gb_per_s: float
    at_ms: int


class Group(msgspec.Struct):
    """placement: the newest. said: the verdict that readers have, None before the first. rests_until_ms: not judged
    again before that. gravest: the worst presence that the last judgement saw.
    """

    placement: Placement
    said: GroupVerdict | None = None
    rests_until_ms: int = 0
    gravest: Presence = Presence.FINE


class GroupsSaved(msgspec.Struct):
    """What a checkpoint holds. waiting: touched groups that rest."""

    links: dict[str, GpuLinks] = {}
    measured: list[tuple[str, str, Measured]] = []
    groups: list[Group] = []
    touched: list[str] = []
    waiting: list[str] = []


class News(NamedTuple):
    """A verdict that readers do not have yet; None: the group is dissolved. before: the one that they have."""

    group: str
    verdict: GroupVerdict | None
    before: GroupVerdict | None


class Groups:
    """Fed by the cluster stage, which also says who is present (`see`)."""

    def __init__(self, policy: GroupsPolicy, saved: GroupsSaved | None = None) -> None:
        saved = saved or GroupsSaved()
        self.policy = policy
        self.links = saved.links
        self.measured: dict[str, dict[str, Measured]] = {}
        self.groups: dict[str, Group] = {}
        self._of: dict[str, set[str]] = {}  # groups of a GPU
        self._presence: dict[str, Presence] = {}  # of GPUs in groups
        self._touched: set[str] = set()
        self._waiting: set[str] = set()
        self._rests: list[tuple[int, str]] = []  # a heap of when those that wait may be judged; others are void
        self._news: list[News] = []
        self.moved: set[str] = set()  # GPUs whose rack, domain or groups may be others than before; for who counts them
        self._expiries: list[tuple[int, Way]] = []  # a heap; what was measured again since is void
        for group in saved.groups:
            self._add(group)
        self.moved.clear()  # who restores them counts anew
        for one, other, measured in saved.measured:
            self.measured.setdefault(one, {})[other] = measured
            self._expect((one, other), measured)
        self._touched.update(saved.touched)
        for name in saved.waiting:
            self._wait(name, self.groups[name])

    def save(self) -> GroupsSaved:
        links = {gpu: self.links[gpu] for gpu in sorted(self.links)}
        measured = [(one, *to) for one in sorted(self.measured) for to in sorted(self.measured[one].items())]
        groups = [self.groups[name] for name in sorted(self.groups)]
        return GroupsSaved(links, measured, groups, sorted(self._touched), sorted(self._waiting))

    def __contains__(self, gpu: object) -> bool:
        """Whether the GPU is in a group."""
        return gpu in self._of

    def placements(self, gpu: str) -> list[Placement]:
        """Of the groups that it is in, by name."""
        return [self.groups[name].placement for name in sorted(self._of.get(gpu, ()))]

    @property
    def gpus(self) -> list[str]:
        """Those that are in a group."""
        return sorted(self._of)

    # --- what is said --------------------------------------------------------------------------------------

    def place(self, placement: Placement) -> list[str]:
        """Take in a placement; returns the GPUs whose presence has to be told. Raises ValueError."""
        gpus = list(dict.fromkeys(placement.gpus))
        if not placement.group or "" in gpus or len(gpus) > GPUS_MAX:
            why = f"{len(gpus)} GPUs, at most {GPUS_MAX}" if len(gpus) > GPUS_MAX else "group or a GPU has no name"
            raise ValueError(f"a placement that cannot be: {why}")
        known = self.groups.get(placement.group)
        placement = msgspec.structs.replace(placement, gpus=gpus)
        if known is not None:
            if placement.ts < known.placement.ts:
                return []
            if placement == msgspec.structs.replace(known.placement, ts=placement.ts):
                known.placement = placement  # said again
                return []
        if known is not None:
            self._drop(known)
        if gpus:
            said = None if known is None else known.said
            self._add(Group(placement, said))
            self._touched.add(placement.group)
        elif known is not None:
            self._news.append(News(placement.group, None, known.said))
        return gpus

    def take_inventory(self, inventory: Inventory) -> None:
        for info in inventory.gpus:
            if info.uuid and self.links.setdefault(info.uuid, GpuLinks()).take_inventory(inventory, info):
                self.moved.add(info.uuid)
                self._touch(info.uuid)

    def take_status(self, gpu: str, links: LinkStatus) -> None:
        if self.links.setdefault(gpu, GpuLinks()).take_status(links):
            self._touch(gpu)

    def measure(self, way: Way, gb_per_s: float, at_ms: int) -> None:
        one, other = way
        known = self.measured.get(one, {}).get(other)
        if one == other or (known is not None and at_ms < known.at_ms):
            return
        self.measured.setdefault(one, {})[other] = Measured(gb_per_s, at_ms)
        self._expect(way, self.measured[one][other])
        self._touch(*way)

    def see(self, gpu: str, presence: Presence) -> None:
        if gpu in self._of and self._presence.get(gpu) is not presence:
            self._presence[gpu] = presence
            self._touch(gpu)
            self._hurry(gpu, presence)

    def forget(self, gpu: str) -> None:
        """Another GPU stands in its slot."""
        if self.links.pop(gpu, None) is not None:
            self._touch(gpu)

    def change_policy(self, policy: GroupsPolicy) -> None:
        self.policy = policy
        self._expiries.clear()
        for one, to in self.measured.items():
            for other, measured in to.items():
                self._expect((one, other), measured)
        self._touched.update(self.groups)

    @property
    def due_ms(self) -> int | None:
        """When the first of the groups that wait is to be judged."""
        while self._rests:
            at_ms, name = self._rests[0]
            if name in self._waiting and self.groups[name].rests_until_ms == at_ms:
                return at_ms
            heapq.heappop(self._rests)
        return None

    def expire(self, now_ms: int) -> bool:
        """Measurements get old; returns whether one of a group has."""
        before = len(self._touched)
        while self._expiries and self._expiries[0][0] <= now_ms:
            _, (one, other) = heapq.heappop(self._expiries)
            to = self.measured.get(one, {})
            if other in to and self._expires_ms(to[other]) <= now_ms:
                del to[other]
                if not to:
                    del self.measured[one]
                self._touch(one, other)
        return len(self._touched) > before

    # --- what follows --------------------------------------------------------------------------------------

    def judge(self, now_ms: int) -> Iterator[News]:
        """What readers have to be told now, by the names of the groups."""
        news, self._news = self._news, []
        yield from news
        while (due_ms := self.due_ms) is not None and due_ms <= now_ms:
            name = heapq.heappop(self._rests)[1]
            self._waiting.discard(name)
            self._touched.add(name)
        touched, self._touched = self._touched, set()
        for name in sorted(touched):
            group = self.groups.get(name)
            if group is None:
                continue
            if now_ms < group.rests_until_ms:
                self._wait(name, group)
                continue
            self._waiting.discard(name)
            group.rests_until_ms = now_ms + WAIT_MS
            facts = self._facts(group.placement.gpus)
            group.gravest = max(facts.presence.values(), key=GRAVITY.__getitem__)
            verdict = judge(group.placement, facts, self.policy)
            before, shown = group.said, _visible(verdict)
            if before is None or _visible(before) != shown:
                group.said = verdict
                yield News(name, verdict, before)

    def recall(self, gpu: str, presence: Presence) -> None:
        """What was seen before a checkpoint."""
        self._presence[gpu] = presence

    def _facts(self, gpus: list[str]) -> Facts:
        presence = {gpu: self._presence.get(gpu, Presence.UNKNOWN) for gpu in gpus}
        links = {gpu: self.links[gpu] for gpu in gpus if gpu in self.links}
        measured = {}
        members = set(gpus)
        for one in members & self.measured.keys():
            for other in members & self.measured[one].keys():
                known = self.measured[one][other]
                if known.at_ms >= max((links[gpu].changed_ms for gpu in (one, other) if gpu in links), default=0):
                    measured[one, other] = known.gb_per_s
        return Facts(presence, links, measured)

    def _wait(self, name: str, group: Group) -> None:
        if name not in self._waiting:
            self._waiting.add(name)
            heapq.heappush(self._rests, (group.rests_until_ms, name))

    def _hurry(self, gpu: str, presence: Presence) -> None:
        """Its groups are judged at once, unless readers know of a GPU that fares as badly."""
        for name in self._of[gpu]:
            if GRAVITY[presence] > GRAVITY[self.groups[name].gravest]:
                self.groups[name].rests_until_ms = 0

    def _touch(self, gpu: str, other: str = "") -> None:
        """The groups of a GPU, or those that hold both."""
        groups = self._of.get(gpu, set())
        self._touched |= groups & self._of.get(other, set()) if other else groups

    def _add(self, group: Group) -> None:
        self.groups[group.placement.group] = group
        for gpu in group.placement.gpus:
            self._of.setdefault(gpu, set()).add(group.placement.group)
            self.moved.add(gpu)

    def _drop(self, group: Group) -> None:
        del self.groups[group.placement.group]
        self._waiting.discard(group.placement.group)
        for gpu in group.placement.gpus:
            self._of[gpu].discard(group.placement.group)
            self.moved.add(gpu)
            if not self._of[gpu]:
                del self._of[gpu]
                self._presence.pop(gpu, None)

    def _expect(self, way: Way, measured: Measured) -> None:
        heapq.heappush(self._expiries, (self._expires_ms(measured), way))

    def _expires_ms(self, measured: Measured) -> int:
        return measured.at_ms + round(1000 * self.policy.bandwidth_fresh_s)


def _visible(verdict: GroupVerdict) -> Any:
    """What has to change before a verdict is worth saying again: a measurement differs a little every time."""
    ratio = None
    if verdict.all_reduce_gb_per_s is not None and verdict.expected_gb_per_s:
        ratio = round(verdict.all_reduce_gb_per_s / verdict.expected_gb_per_s, 2)
    issues = [(issue.kind, issue.gpus, issue.measured if issue.unit == "links" else None) for issue in verdict.issues]
    return (
        (verdict.cluster, verdict.node, verdict.gpus, verdict.model, verdict.namespace),
        (verdict.condition, verdict.action, verdict.basis, verdict.worst, ratio),
        (verdict.blamed, verdict.evict, issues, verdict.more_issues),
    )
