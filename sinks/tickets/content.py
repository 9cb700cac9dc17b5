"""What a ticket says of a case or a prediction: pure functions, from what is known to `Ticket`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from schemas.alerts import AS_PLANNED
from schemas.records import GpuInfo
from schemas.revalidations import CLEAN
from schemas.states import Action, Step
from schemas.waits import Wait
from schemas.xid import lookup
from sinks.tickets import told
from sinks.tickets.tables import REPLACE, priority, suggestion
from sinks.tickets.ticket import IN_SERVICE, PREDICTION, Advice, Check, Line, Ticket, TicketGpu

TITLE_MAX = 150  # ServiceNow takes 160 characters
EVIDENCE_MAX = 16
_XID = "xid_"
_GRAVITY = {
    action: rank for rank, action in enumerate((*map(str, list(Action)[:-1]), REPLACE, str(Action.REMOVE_NODE)))
}
assert list(Action)[-1] is Action.REMOVE_NODE  # a whole node is graver than a part
_SAID_OTHERWISE = len(_GRAVITY)  # an action that we do not know outranks all that we do


class Case(NamedTuple):
    """said: its newest record. needed: it has needed a person at some time. steps: what it has been through."""

    said: told.Eviction
    needed: bool
    steps: list[Line]

    @property
    def action(self) -> str:
        """What is asked for now."""
        return REPLACE if self.said.step == Step.RMA else self.said.action

    @property
    def is_open(self) -> bool:
        """What is not known to be over is not over."""
        return self.said.state != IN_SERVICE


class Asked(NamedTuple):
    """Outputs to check again. answer: to the newest evidence, where there is one."""

    said: told.Revalidation
    answer: told.Revalidated | None


class Known(NamedTuple):
    """What a node's inventory says of a GPU. None: it does not list it."""

    info: GpuInfo | None
    rack: str


def of_case(
    id: str,
    cases: Mapping[str, Case],
    incident: told.Incident | None,
    known: Mapping[str, Known],
    checks: Mapping[str, Sequence[Asked]],
    policies: Mapping[str, str],
) -> Ticket:
    """cases: of the incident, by GPU; at least one that needs a person. The other mappings: by GPU, too."""
    needed = {gpu: case for gpu, case in cases.items() if case.needed}
    first = min(needed.values(), key=lambda case: (case.said.opened, case.said.bdf))
    opened = first.said.opened
    open_ = [case for case in needed.values() if case.is_open]
    action = max((case.action for case in open_ or needed.values()), key=_gravity)
    family = incident.family if incident else ""
    root = incident.root if incident else first.said.fault
    evidence = _evidence(incident, first)
    windows = _checks(checks, min([opened, *(line.ts for line in evidence)]))
    fault = incident.text if incident and incident.text else first.said.cause
    name = _name(evidence, root, first)
    return Ticket(
        id=id,
        cluster=first.said.cluster,
        is_open=bool(open_),
        title=_title(
            first.said.node,
            [case.said.bdf for case in needed.values()],
            f"replace: {name}" if action == REPLACE else name,
        ),
        fault=fault,
        family=family,
        root=root,
        action=action,
        priority=priority(action, family, any(check.result != CLEAN for check in windows)),
        opened=opened,
        resolved=incident.resolved if incident else 0,
        reopened=incident.reopened if incident else 0,
        closed_because="" if open_ else _over(needed.values()),
        gpus=[_gpu(gpu, case, known[gpu]) for gpu, case in sorted(cases.items(), key=lambda each: not each[1].needed)],
        suggestion=suggestion(root, family),
        nvidia=_advice([root, *(line.what for line in evidence)]),
        evidence=evidence,
        tried=sorted({line for case in needed.values() for line in case.steps}, key=lambda line: (line.ts, line.gpu)),
        checks=windows,
        policy=next((policies[gpu] for gpu in needed if policies.get(gpu)), ""),
    )


def of_prediction(id: str, gpu: str, said: told.Prediction, known: Known, policy: str) -> Ticket:
    """What is foretold and asks for something."""
    when = f"failure in {said.hours:.3g} h, " if said.hours is not None else ""
    fault = f"{said.text or 'memory is wearing out'} ({when}confidence {said.confidence:.2g} by {said.model})"
    return Ticket(
        id=id,
        kind=PREDICTION,
        cluster=said.cluster,
        is_open=True,
        title=_title(said.node, [said.bdf], f"{said.action}: {said.text or 'failure foreseen'}"),
        fault=fault,
        family="memory",
        root="prediction",
        action=said.action,
        priority=priority(said.action, "memory"),
        opened=0,  # its record is said again and again; when the first one came the topic does not keep
        gpus=[_identity(gpu, said.node, said.bdf, said.uuid, known)],
        suggestion=suggestion("prediction", "memory"),
        policy=policy,
    )


def _gravity(action: str) -> int:
    return _GRAVITY.get(action, _SAID_OTHERWISE)


def _title(node: str, slots: Sequence[str], fault: str) -> str:
    where = slots[0] if len(slots) == 1 else f"{len(slots)} GPUs"
    title = " ".join(f"{node} {where}: {fault}".split())
    return title if len(title) <= TITLE_MAX else title[: TITLE_MAX - 1] + "…"


def _name(evidence: Sequence[Line], root: str, first: Case) -> str:
    """The fault in few words: those of its cause, without places and counts."""
    return next((line.text for line in evidence if line.what == root and line.text), first.said.cause)


def _over(cases: Iterable[Case]) -> str:
    last = max(cases, key=lambda case: case.said.ts)
    return last.said.detail or "back in service"


def _gpu(key: str, case: Case, known: Known) -> TicketGpu:
    said = case.said
    gpu = _identity(key, said.node, said.bdf, said.uuid, known)
    return TicketGpu(
        key=gpu.key,
        node=gpu.node,
        rack=gpu.rack,
        bdf=gpu.bdf,
        uuid=gpu.uuid,
        model=gpu.model,
        serial=gpu.serial,
        state=said.state,
        action=case.action,
        planned=said.fault in AS_PLANNED or not (case.needed or said.step),
        step=said.step,
        waits=said.waits,
        attempts=said.attempts,
    )


def _identity(key: str, node: str, bdf: str, uuid: str, known: Known) -> TicketGpu:
    info = known.info
    return TicketGpu(
        key=key,
        node=node,
        rack=known.rack,
        bdf=bdf or (info.bdf if info else ""),
        uuid=uuid or (info.uuid if info else ""),
        model=info.model if info else "",
        serial=info.serial if info else "",
    )


def _evidence(incident: told.Incident | None, first: Case) -> list[Line]:
    """In the order of time. Without an incident that is what opened the case."""
    if incident is None or not incident.evidence:
        said = first.said
        return [Line(ts=said.opened, what=said.fault, text=said.cause, gpu=said.uuid or said.bdf)]
    lines = [
        Line(
            ts=each.first,
            what=each.what,
            text=each.text,
            gpu=each.gpu.uuid or each.gpu.bdf,
            count=each.count,
            raw=each.raw,
        )
        for each in incident.evidence
    ]
    return sorted(lines, key=lambda line: (line.ts, line.what, line.gpu))[:EVIDENCE_MAX]


def _advice(kinds: Iterable[str]) -> list[Advice]:
    """Of each Xid once, the root's first."""
    found = []
    for kind in dict.fromkeys(kinds):
        code = kind.removeprefix(_XID)
        if code == kind or not code.isdecimal():
            continue
        info = lookup(int(code))
        if info.immediate_action or info.investigatory_action:
            found.append(
                Advice(
                    code=info.code,
                    mnemonic=info.mnemonic,
                    immediate=str(info.immediate_action),
                    investigatory=str(info.investigatory_action),
                )
            )
    return found


def _checks(checks: Mapping[str, Sequence[Asked]], since: int) -> list[Check]:
    """Windows that end in this incident, not in one before."""
    found = [_check(gpu, *each) for gpu, all_ in checks.items() for each in all_ if each.said.end >= since]
    return sorted(set(found), key=lambda check: (check.gpu, check.start, check.end))


def _check(gpu: str, said: told.Revalidation, answer: told.Revalidated | None) -> Check:
    made = Check(gpu=gpu, start=said.start, end=said.end, confidence=said.confidence)
    return msgspec.structs.replace(made, answer=answer.text, result=answer.result) if answer else made


def step_of(said: told.Eviction) -> str:
    """One step of a case in words: what has become of it, what it waits for, how often it was reset."""
    waits = f"waits: {said.waits}" if said.waits else ""
    what = said.detail or ("" if waits else said.cause)
    times = f"reset {said.attempts} x" if said.attempts else ""
    return f"{said.step or said.state}: " + "; ".join(filter(None, (what, waits, times)))


def is_news(before: told.Eviction, said: told.Eviction) -> bool:
    """Whether a case has come further: more than numbers in the words that it waits in."""
    return _standing(before) != _standing(said)


def _standing(said: told.Eviction) -> tuple[str, str, str, int, Wait | None]:
    return said.state, said.step, said.detail, said.attempts, Wait.of(said.waits)
