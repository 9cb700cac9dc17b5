"""The incidents of one node: which are open, which may come back, and which turn out to be one. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from processors.incident import Incident, Surroundings, Trace, same
from schemas.records import Gpu

RESOLVED_MAX = 16  # that a node keeps, to be opened again

Key = tuple[str, int, str]  # of a trace


class NodeIncidents(msgspec.Struct, omit_defaults=True):
    """peers: UUID -> UUIDs of the GPUs that NVLinks join to it directly.

    told: row -> id of the incident that was told with the GPU's newest verdict, if there was one.
    """

    open: list[Incident] = []
    resolved: list[Incident] = []
    peers: dict[str, list[str]] = {}
    told: dict[int, str] = {}

    @property
    def empty(self) -> bool:
        return not (self.open or self.resolved or self.peers)

    def __iter__(self) -> Iterator[Incident]:
        """All, also while they change."""
        return iter((*self.open, *self.resolved))

    def find(self, key: Key) -> tuple[Incident, Trace] | None:
        """The open incident that knows the kind of fault, and what it knows of it."""
        for incident in self.open:
            trace = incident.find(key)
            if trace is not None:
                return incident, trace
        return None

    def begin(self, node: str, trace: Trace, clock_ms: int, reopen_ms: int) -> Incident:
        """An incident to hold a trace: a resolved one whose root this is, if it is not too old, else a new one."""
        where = trace.gpu.bdf or trace.gpu.uuid or trace.place or "-"
        id = f"{node}/{where}/{trace.family}/{trace.first}"
        for incident in reversed(self.resolved):
            returns = incident.root.key == trace.key and clock_ms - incident.resolved_ms < reopen_ms
            if incident.id == id or (returns and not incident.into):
                self.resolved.remove(incident)
                incident.resolved_ms, incident.into = 0, ""
                incident.reopened += 1
                break
        else:
            incident = Incident(id=id, traces=[], born_ms=clock_ms, active_ms=clock_ms)
        self.open.append(incident)
        return incident

    def join(self, incident: Incident, window_ms: int) -> list[Incident]:
        """Make one of all open incidents that `incident` shows to be one: the one that was told of first stays.

        Returns the incidents that have changed; the last is the one that `incident` is now.
        """
        around = self.around(window_ms)
        changed: list[Incident] = []
        while True:
            others = [other for other in self.open if other is not incident and same(incident, other, around)]
            if not others:
                return [*changed, incident]
            other = max(others, key=lambda each: each.gravity)
            stays, goes = sorted((incident, other), key=lambda each: (not each.said, each.born_ms, each.id))
            self.open.remove(goes)
            stays.absorb(goes)
            if goes.said:
                self.resolved.append(goes)
                changed.append(goes)
            incident = stays

    def resolve(self, incident: Incident, now_ms: int) -> None:
        self.open.remove(incident)
        self.resolved.append(incident)
        incident.resolved_ms = now_ms

    def forget(self, now_ms: int, reopen_ms: int) -> list[Incident]:
        """Drop those that are over for so long that they do not come back, and the oldest of very many."""
        excess = self.resolved[:-RESOLVED_MAX]
        gone = [each for each in self.resolved if each in excess or now_ms - each.resolved_ms >= reopen_ms]
        self.resolved = [each for each in self.resolved if each not in gone]
        return gone

    def next_ms(self, quiet_ms: int, counts_every_ms: int, reopen_ms: int) -> float:
        """Until when, unless more comes, there is nothing to resolve, tell or forget: most stand for long, and rest."""
        moments = [each.active_ms + quiet_ms for each in self.open if not each.standing]
        moments += [each.said_ms + counts_every_ms for each in self.open if each.unsaid]
        moments += [each.resolved_ms + reopen_ms for each in self.resolved]
        return min(moments, default=math.inf)

    def around(self, window_ms: int) -> Surroundings:
        return Surroundings(self._joined, window_ms)

    def _joined(self, a: Gpu, b: Gpu) -> bool:
        """Without direct links, all GPUs of a node meet at its switches."""
        ours, theirs = self.peers.get(a.uuid), self.peers.get(b.uuid)
        if not ours and not theirs:
            return True
        return b.uuid in (ours or ()) or a.uuid in (theirs or ())
