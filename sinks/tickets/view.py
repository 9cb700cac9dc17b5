"""Records -> the tickets that there should be, as of now. No memory of what was sent, no I/O."""

from __future__ import annotations

import msgspec

from schemas import topics
from schemas.alerts import alert_id, orders
from schemas.log import Record
from schemas.records import GpuInfo, gpu_key
from sinks.tickets import told
from sinks.tickets.content import Asked, Case, Known, is_news, of_case, of_prediction, step_of
from sinks.tickets.ticket import Line, Ticket

CHAIN_MAX = 16  # of incidents that turned out to be part of others
CHECKS_MAX = 8  # of one GPU
TRIED_MAX = 32

Name = tuple[str, str]  # cluster, and an alert's id: of its incident as a rule


class View:
    """Of each GPU the newest case, order and windows; of each incident what is known.

    A ticket is open while a case that needs a person is: a GPU that stays out stays somebody's work, though its
    incident is over. Of a case that another one of the same GPU has replaced nothing is left: see `Desk`.
    """

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}
        self._by_alert: dict[str, set[str]] = {}  # an alert's id: the GPUs whose newest case names it
        self._orders: dict[str, told.Prediction] = {}
        self._incidents: dict[str, told.Incident] = {}
        self._parts: dict[str, set[str]] = {}  # an incident's id: those that turned out to be part of it
        self._known: dict[str, Known] = {}  # by GPU: what its node says of it
        self._nodes: dict[str, list[str]] = {}
        self._checks: dict[str, dict[tuple[int, int | None, int | None], told.Revalidation]] = {}
        self._answers: dict[str, dict[int, told.Revalidated]] = {}  # by GPU and `detected`
        self._policies: dict[str, str] = {}
        self._changed: dict[Name, None] = {}
        self._takers = {
            topics.EVICTIONS: self._eviction,
            topics.INCIDENTS: self._incident,
            topics.PREDICTIONS: self._prediction,
            topics.REVALIDATIONS: self._revalidation,
            topics.REVALIDATED: self._revalidated,
            topics.DECISIONS: self._decision,
            topics.INVENTORY: self._inventory,
        }

    def take(self, topic: str, record: Record) -> None:
        """Raises ValueError: the record is none that we can read."""
        self._takers[topic](record)

    def changed(self) -> list[Name]:
        """The tickets that may differ from what they were when this was last asked."""
        found = list(self._changed)
        self._changed.clear()
        return found

    def ticket(self, name: Name) -> Ticket | None:
        """None: nothing on the topics asks for it, or tells of it."""
        cluster, id = name
        if id.startswith(_ORDER):
            gpu, _, action = id.removeprefix(_ORDER).rpartition("/")
            order = self._orders.get(gpu)
            if order is None or order.action != action or order.cluster != cluster:
                return None
            return of_prediction(id, gpu, order, self._known_of(gpu), self._policies.get(gpu, ""))
        members = self._members(name)
        if not any(case.needed for case in members.values()):
            return None
        return of_case(
            id,
            members,
            self._incidents.get(id),
            {gpu: self._known_of(gpu) for gpu in members},
            {gpu: self._asked(gpu) for gpu in members},
            self._policies,
        )

    def part_of(self, name: Name) -> str:
        """The id of the incident that this one turned out to be part of; its own if of none."""
        id = name[1]
        for _ in range(CHAIN_MAX):
            incident = self._incidents.get(id)
            if incident is None or not incident.into:
                break
            id = incident.into
        return id

    # --- topics --------------------------------------------------------------------------------------------------

    def _eviction(self, record: Record) -> None:
        before = self._cases.get(record.key)
        if not record.value:
            self._forget(record.key)
            return
        said = told.eviction(record.value)
        same = before is not None and before.said.opened == said.opened
        steps = before.steps if before and same else []
        if not (before and same) or is_news(before.said, said):
            steps = [*steps, Line(ts=said.ts, gpu=record.key, text=step_of(said))][-TRIED_MAX:]
        needed = said.needs_person or bool(before and same and before.needed)
        self._forget(record.key)
        case = Case(said, needed, steps)
        self._cases[record.key] = case
        name = _alert(case)
        self._by_alert.setdefault(name[1], set()).add(record.key)
        self._touch(name)

    def _forget(self, gpu: str) -> None:
        case = self._cases.pop(gpu, None)
        if case is not None:
            name = _alert(case)
            self._by_alert[name[1]].discard(gpu)
            if not self._by_alert[name[1]]:
                del self._by_alert[name[1]]
            self._touch(name)

    def _incident(self, record: Record) -> None:
        id = record.key
        now = told.incident(record.value) if record.value else None
        self._touch_incident(id)  # while it is still known what it was part of
        before = self._incidents.pop(id, None)
        if before is not None and before.into:
            self._parts[before.into].discard(id)
        if now is not None:
            self._incidents[id] = now
            if now.into:
                self._parts.setdefault(now.into, set()).add(id)
        for changed in (id, before.into if before else "", now.into if now else ""):
            if changed:
                self._touch_incident(changed)

    def _prediction(self, record: Record) -> None:
        before = self._orders.pop(record.key, None)
        said = told.prediction(record.value) if record.value else None
        if said is not None and orders(said.action):
            self._orders[record.key] = said
        for each in (before, said):
            if each is not None and orders(each.action):
                self._touch((each.cluster, order_id(record.key, each.action)))

    def _revalidation(self, record: Record) -> None:
        if not record.value:
            return
        said = told.revalidation(record.value)
        of = self._checks.setdefault(record.key, {})
        of[said.detected, said.gi, said.ci] = said
        while len(of) > CHECKS_MAX:
            del of[min(of, key=lambda key: key[0])]
        self._touch_gpu(record.key)

    def _revalidated(self, record: Record) -> None:
        answer = told.revalidated(record.value)
        of = self._answers.setdefault(record.key, {})
        of[answer.detected] = answer
        while len(of) > CHECKS_MAX:
            del of[min(of)]
        self._touch_gpu(record.key)

    def _decision(self, record: Record) -> None:
        if record.value:
            self._policies[record.key] = told.decision(record.value).policy
        else:
            self._policies.pop(record.key, None)

    def _inventory(self, record: Record) -> None:
        gone = self._nodes.pop(record.key, [])
        for key in gone:
            self._known.pop(key, None)
        if record.value:
            said = told.inventory(record.value)
            known = {key: Known(info, said.rack) for info in said.gpus for key in _keys(record.key, info)}
            self._known |= known
            self._nodes[record.key] = list(known)
        for key in {*gone, *self._nodes.get(record.key, ())} & self._cases.keys():
            self._touch_gpu(key)

    # --- which tickets -------------------------------------------------------------------------------------------

    def _members(self, name: Name) -> dict[str, Case]:
        """The cases of the incident, and of those that turned out to be part of it; by GPU, sorted."""
        cluster, id = name
        found = [] if self.part_of(name) != id else sorted(gpu for part in self._whole(id) for gpu in self._of(part))
        return {gpu: case for gpu in found if (case := self._cases[gpu]).said.cluster == cluster}

    def _whole(self, id: str) -> list[str]:
        """The incident and all that are part of it."""
        found = {id: None}
        ahead = [id]
        while ahead:
            more = sorted(self._parts.get(ahead.pop(), set()) - found.keys())
            found |= dict.fromkeys(more)
            ahead += more
        return list(found)

    def _asked(self, gpu: str) -> list[Asked]:
        answers = self._answers.get(gpu, {})
        found = []
        for said in self._checks.get(gpu, {}).values():
            answer = answers.get(said.detected)
            found.append(Asked(said, answer if answer and answer.end >= said.end else None))
        return found

    def _of(self, id: str) -> set[str]:
        return self._by_alert.get(id, set())

    def _touch(self, name: Name) -> None:
        self._changed[name] = None
        self._changed[name[0], self.part_of(name)] = None

    def _touch_gpu(self, gpu: str) -> None:
        if case := self._cases.get(gpu):
            self._touch(_alert(case))

    def _touch_incident(self, id: str) -> None:
        """An incident's id does not tell its cluster; the cases do."""
        for part in self._whole(id):
            for gpu in self._of(part):
                self._changed[self._cases[gpu].said.cluster, id] = None
                self._touch_gpu(gpu)

    def _known_of(self, gpu: str) -> Known:
        return self._known.get(gpu) or Known(None, "")


_ORDER = "prediction:"  # no node's name, and so no incident's id, begins like that


def order_id(gpu: str, action: str) -> str:
    """Of what a prediction orders: one for each GPU and order."""
    return f"{_ORDER}{gpu}/{action}"


def _alert(case: Case) -> Name:
    """An incident's id is that of the case; without one `schemas.alerts` makes it."""
    said = case.said
    if said.incident:
        return said.cluster, said.incident
    action = msgspec.structs.replace(said, action="none")  # the id does not hang on it
    return said.cluster, alert_id(action.alert)


def _keys(node: str, info: GpuInfo) -> set[str]:
    return {gpu_key(node, info.uuid, info.bdf), gpu_key(node, "", info.bdf)}
