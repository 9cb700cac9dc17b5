"""One incident: what was seen of it, and what follows from that. Pure: time comes in with the evidence.

All that is concluded (root, family, GPUs, action) follows from the evidence as a set: the order in which it came,
and doubles of it, change nothing. Whether two incidents are one is asked of their evidence, too (`akin`, `attaches`):
what has come to light stays true, so that whatever comes first, the same incidents stand in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from processors.families import FATAL_TO_PROGRAMS, follows, rank
from schemas import records
from schemas.records import Gpu
from schemas.states import Action, Family, IncidentState

NOBODY = -1  # the row of a switch, or of a GPU that is not there any more
TRACES_MAX = 64  # kinds of evidence that an incident keeps
SHOWN_MAX = 16  # and that its record holds
NAMED_MAX = 8  # GPUs that its text names

ACTIONS = tuple(Action)
Joined = Callable[[Gpu, Gpu], bool]


class Trace(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One kind of fault (`what`) of one GPU, or of the switch at `place` (row NOBODY): all its occurrences.

    first, last: event times, ms. text, raw: of the first. event: it comes of kernel lines, else of a signal.
    action, corruption: what its newest occurrence asks for. fatal: of a switch that takes
    GPUs along; everywhere: all of the node. mild: a finding that only adds to what there is. standing: its cause is
    still there. over: somebody has vouched for the GPU since. job: whose fault it is, if it is a job's.
    """

    what: str
    family: Family
    row: int
    place: str = ""
    gpu: Gpu = Gpu()
    first: int
    last: int
    count: int = 1
    text: str = ""
    raw: str = ""
    action: Action = Action.NONE
    corruption: bool = False
    event: bool = False
    fatal: bool = False
    everywhere: bool = False
    mild: bool = False
    standing: bool = False
    over: bool = False
    job: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        return self.what, self.row, self.place

    @property
    def rank(self) -> int:
        return 0 if self.mild else rank(self.what, self.family, fatal=self.fatal)

    @property
    def order(self) -> tuple[int, int, str, str, str]:
        """The likeliest cause first: by rank, then by time, then by name."""
        return -self.rank, self.first, self.what, self.gpu.bdf or self.place, self.gpu.uuid

    def near(self, other: Trace, window_ms: int) -> bool:
        return self.first - window_ms <= other.last and other.first - window_ms <= self.last

    def add(self, other: Trace) -> None:
        """The same kind of fault of the same GPU."""
        if other.first < self.first:
            self.first, self.text, self.raw = other.first, other.text, other.raw
        if other.last >= self.last:
            self.last, self.action, self.corruption = other.last, other.action, other.corruption
        self.count += other.count
        self.fatal |= other.fatal
        self.everywhere |= other.everywhere
        self.mild &= other.mild
        self.standing |= other.standing
        self.over &= other.over
        self.job = self.job or other.job


class Incident(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The state of one. born_ms, active_ms: stream clock at its beginning and at its newest evidence.

    dropped: how often kinds of evidence came that are no longer kept. said: what readers were told that has to be told
    anew when it changes; empty: nothing yet. said_ms: stream clock then. unsaid: counts have grown since.
    resolved_ms: stream clock; 0: open. into: the id of what has absorbed it.
    """

    id: str
    traces: list[Trace]
    born_ms: int
    active_ms: int
    dropped: int = 0
    reopened: int = 0
    said: str = ""
    said_ms: int = 0
    unsaid: bool = False
    resolved_ms: int = 0
    into: str = ""

    @property
    def root(self) -> Trace:
        return min(self.traces, key=lambda trace: trace.order)

    @property
    def family(self) -> Family:
        root = self.root
        return Family.APPLICATION if root.job else root.family

    @property
    def action(self) -> Action:
        return max((trace.action for trace in self.traces), key=ACTIONS.index)

    @property
    def corruption(self) -> bool:
        return any(trace.corruption for trace in self.traces)

    @property
    def everywhere(self) -> bool:
        """It concerns all GPUs of the node: as the switch says, or as none has said that its link has failed."""
        unnamed = not any(trace.gpu.uuid or trace.gpu.bdf for trace in self.traces)
        return any(trace.everywhere or (trace.fatal and unnamed) for trace in self.traces)

    @property
    def gravity(self) -> tuple[int, bool, int, int, str]:
        """The graver of two is the greater."""
        root = self.root
        return ACTIONS.index(self.action), self.corruption, root.rank, -root.first, self.id

    @property
    def standing(self) -> bool:
        return any(trace.standing and not trace.mild for trace in self.traces)

    @property
    def over(self) -> bool:
        """Somebody has vouched for all of its GPUs."""
        return all(trace.over for trace in self.traces)

    def concerns(self, row: int) -> bool:
        return self.everywhere or any(trace.row == row for trace in self.traces)

    def find(self, key: tuple[str, int, str]) -> Trace | None:
        for trace in self.traces:
            if trace.what == key[0] and trace.row == key[1] and trace.place == key[2]:
                return trace
        return None

    def take(self, traces: Iterable[Trace]) -> None:
        """Add evidence; of more kinds than can be kept the unlikeliest causes go."""
        for trace in traces:
            known = self.find(trace.key)
            if known is None:
                self.traces.append(trace)
            else:
                known.add(trace)
        if len(self.traces) > TRACES_MAX:
            self.traces.sort(key=lambda trace: (not trace.standing, trace.order))
            self.dropped += sum(trace.count for trace in self.traces[TRACES_MAX:])
            del self.traces[TRACES_MAX:]

    def absorb(self, other: Incident) -> None:
        """`other` turns out to be part of this one."""
        self.take(msgspec.structs.replace(trace) for trace in other.traces)
        self.active_ms = max(self.active_ms, other.active_ms)
        self.dropped += other.dropped
        self.unsaid = True
        other.into, other.resolved_ms = self.id, self.active_ms


class Surroundings(NamedTuple):
    """joined: whether NVLinks join two GPUs. window_ms: how near to each other related faults are."""

    joined: Joined
    window_ms: int


def same(one: Incident, other: Incident, around: Surroundings) -> bool:
    """Whether the two are one."""
    return (
        any(akin(a, b, around) for a in one.traces for b in other.traces)
        or attaches(one, other, around)
        or attaches(other, one, around)
    )


def akin(a: Trace, b: Trace, around: Surroundings) -> bool:
    """Whether two faults have one cause, without one being the other's consequence.

    Those of one family and one GPU; across GPUs: of one job; NVLink faults at the same time, where links join the
    GPUs, or of a switch; GPUs that fall silent together, as their node does.
    """
    if a.job and a.job == b.job:
        return True
    if a.family is not b.family:
        return False
    if a.row == b.row and a.place == b.place:
        return True
    if a.family is Family.NVLINK:
        linked = NOBODY in (a.row, b.row) or around.joined(a.gpu, b.gpu)
        return linked and a.near(b, around.window_ms)
    return a.family is Family.PRESENCE and a.near(b, around.window_ms)


def attaches(one: Incident, other: Incident, around: Surroundings) -> bool:
    """Whether all of `one` is a consequence of `other`: its likeliest cause may be one of a fault of the other's."""
    root = one.root

    def may_cause(trace: Trace) -> bool:
        told = trace.event or trace.what in FATAL_TO_PROGRAMS or not root.event  # the kernel tells of what it has seen
        return told and not trace.mild and follows(root.what, root.family, trace.what, trace.family)

    causes = [trace for trace in other.traces if may_cause(trace)] if root.rank < other.root.rank else []
    return any(x.row == y.row != NOBODY and x.near(y, around.window_ms) for x in one.traces for y in causes)


def record(incident: Incident, node: str, cluster: str, others: Iterable[Gpu]) -> records.Incident:
    """What readers are told. others: all GPUs of the node."""
    root, traces = incident.root, incident.traces
    gpus = gpus_of(incident, others)
    shown = sorted(traces, key=lambda trace: trace.order)[:SHOWN_MAX]
    updated = max(trace.last for trace in traces)
    return records.Incident(
        ts=incident.resolved_ms or updated,
        cluster=cluster,
        node=node,
        id=incident.id,
        state=IncidentState.RESOLVED if incident.resolved_ms else IncidentState.OPEN,
        family=incident.family,
        root=root.what,
        text=text(incident, gpus),
        gpus=gpus,
        opened=min(trace.first for trace in traces),
        updated=updated,
        resolved=incident.resolved_ms,
        count=sum(trace.count for trace in traces) + incident.dropped,
        reopened=incident.reopened,
        action=incident.action,
        corruption=incident.corruption,
        into=incident.into,
        evidence=[
            records.Evidence(
                what=each.what,
                gpu=each.gpu,
                first=each.first,
                last=each.last,
                count=each.count,
                text=each.text,
                raw=each.raw,
            )
            for each in sorted(shown, key=lambda trace: (trace.first, trace.order))
        ],
    )


def gpus_of(incident: Incident, others: Iterable[Gpu]) -> list[Gpu]:
    """All that it concerns, by slot."""
    named = {trace.gpu for trace in incident.traces} | (set(others) if incident.everywhere else set())
    return sorted((gpu for gpu in named if gpu.uuid or gpu.bdf), key=lambda gpu: (gpu.bdf, gpu.uuid))


def text(incident: Incident, gpus: list[Gpu]) -> str:
    """One sentence for people: the cause, where, what came with it, and how much of it all."""
    root = incident.root
    names = [gpu.bdf or gpu.uuid for gpu in gpus]
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    where = f", on {', '.join(names[:NAMED_MAX])}{more}" if names else ""
    blame = f", by one job ({root.job}): its own fault, not the GPUs'" if root.job else ""
    counts: dict[str, int] = {}
    for trace in sorted(incident.traces, key=lambda trace: trace.order):
        counts[trace.what] = counts.get(trace.what, 0) + trace.count
    own = counts.pop(root.what)
    others = ", ".join(f"{label(what)} ({count})" for what, count in [*counts.items()][:SHOWN_MAX])
    times = f", {own} times" if own > 1 else ""
    return f"{root.text}{where}{blame}{times}{'; with ' + others if others else ''}"


def label(what: str) -> str:
    """A kind of fault, for people."""
    head, _, number = what.partition("_")
    if number.isdecimal() and head in ("xid", "sxid"):
        return f"{'Xid' if head == 'xid' else 'SXid'} {number}"
    return what.replace("_", " ")
