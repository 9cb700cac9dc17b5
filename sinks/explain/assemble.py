"""Puts together what the records of a log say about one GPU. Pure: no clock; as of the newest record it was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schemas import records, topics
from schemas.counts import counted
from schemas.log import Record
from schemas.records import Gpu
from sinks.explain import findings, told
from sinks.explain.incidents import shown
from sinks.explain.model import (
    CaseSeen,
    Decided,
    Explanation,
    GroupSeen,
    Identity,
    IncidentSeen,
    NewestRate,
    PredictionSeen,
    Presence,
    RevalidationSeen,
)
from sinks.explain.names import Known
from sinks.explain.rechecks import newest
from sinks.explain.timeline import Timeline
from sinks.explain.xids import XidTally

INCIDENTS, PREDICTIONS, GROUPS = "incidents", "predictions", "groups"
CASES, INCIDENTS_SHOWN = 20, 5

_decision = msgspec.json.Decoder(records.Decision).decode
_score = msgspec.json.Decoder(records.Score).decode
_eviction = msgspec.json.Decoder(records.Eviction).decode
_xid = msgspec.json.Decoder(records.Xid).decode
_rate = msgspec.json.Decoder(records.Rate).decode
_inventory = msgspec.json.Decoder(records.Inventory).decode


class Assembler:
    """Takes records of the topics it names (`takes`), each topic in order; what is of other GPUs passes by."""

    def __init__(self, gpu: Known) -> None:
        self._gpu = gpu
        self._as_of = 0
        self._decisions: list[tuple[int, records.Decision | None]] = []
        self._weight_since = 0
        self._score: tuple[int, records.Score] | None = None
        self._inventory: records.Inventory | None = None
        self._cases: dict[int, CaseSeen] = {}
        self._xids = XidTally()
        self._rates: dict[str, NewestRate] = {}
        self._incidents: dict[str, IncidentSeen] = {}
        self._prediction: PredictionSeen | None = None
        self._revalidations: dict[int, RevalidationSeen] = {}
        self._answers: dict[int, told.Revalidated] = {}
        self._groups: dict[str, GroupSeen] = {}
        self._timeline = Timeline()
        self._unreadable = 0
        self.takes: Mapping[str, Callable[[Record], None]] = {
            topics.INVENTORY: self._take_inventory,
            topics.XIDS: self._take_xid,
            topics.RATES: self._take_rate,
            topics.SCORES: self._take_score,
            topics.DECISIONS: self._take_decision,
            topics.EVICTIONS: self._take_case,
            INCIDENTS: self._take_incident,
            PREDICTIONS: self._take_prediction,
            topics.REVALIDATIONS: self._take_revalidation,
            topics.REVALIDATED: self._take_answer,
            GROUPS: self._take_group,
        }

    @property
    def policy(self) -> str:
        """The id of the policy behind the newest decision."""
        decision = self._newest_decision()
        return decision.policy if decision else ""

    def take(self, topic: str, record: Record) -> None:
        try:
            self.takes[topic](record)
        except ValueError:  # of a newer version, or no record of ours
            self._unreadable += 1

    def explanation(
        self, source: str, policy: Mapping[str, Any] | None, presence: Presence | None, not_kept: list[str]
    ) -> Explanation:
        """policy: the document behind the newest decision; None: its text is not kept."""
        decision = self._newest_decision()
        score = self._score
        notes = list(not_kept)
        if self.policy and policy is None:
            notes.append(f"policy {self.policy}: its text, and so the limits that were not passed")
        if self._unreadable:
            notes.append(f"{counted(self._unreadable, 'record')} could not be read")
        timeline, older = self._timeline.newest()
        return Explanation(
            gpu=self._identity(),
            as_of=self._as_of,
            source=source,
            because=findings.because(decision, score[1] if score else None),
            decision=self._decided(decision),
            score=findings.scored(score[1], score[0], policy) if score else None,
            presence=presence,
            incidents=self._newest_incidents(),
            xids=self._xids.seen(),
            rates=[self._rates[name] for name in sorted(self._rates)],
            prediction=self._prediction,
            cases=sorted(self._cases.values(), key=lambda case: -case.opened)[:CASES],
            revalidations=newest(self._revalidations, self._answers),
            groups=[self._groups[name] for name in sorted(self._groups)],
            timeline=timeline,
            older=older,
            not_kept=notes,
        )

    # --- topics ------------------------------------------------------------------------------------------------

    def _take_decision(self, record: Record) -> None:
        if self._known_otherwise_now(record):
            return
        decision = _decision(record.value) if record.value else None
        before = self._decisions[-1][1] if self._decisions else None
        if decision and (before is None or (before.weight, before.state) != (decision.weight, decision.state)):
            self._weight_since = record.ts
        self._decisions = [(record.ts, decision)]
        self._timeline.decision(record.ts, decision)
        self._seen(record)

    def _take_score(self, record: Record) -> None:
        if self._known_otherwise_now(record):
            return
        score = _score(record.value) if record.value else None
        self._score = (record.ts, score) if score else None
        self._timeline.score(record.ts, score)
        self._seen(record)

    def _take_case(self, record: Record) -> None:
        if not record.value:
            return
        told_ = _eviction(record.value)
        self._cases[told_.opened] = CaseSeen(
            opened=told_.opened,
            changed=record.ts,
            state=str(told_.state),
            action=str(told_.action),
            cause=told_.cause,
            fault=told_.fault,
            detail=told_.detail,
            incident=told_.incident,
            step=str(told_.step or ""),
            waits=told_.waits,
            deadline=told_.deadline,
            attempts=told_.attempts,
        )
        self._timeline.case(record.ts, told_)
        self._seen(record)

    def _take_xid(self, record: Record) -> None:
        xid = _xid(record.value)
        if self._is_mine(xid.node, Gpu(uuid=xid.uuid, bdf=xid.bdf)):
            self._xids.add(record.ts, xid)
            self._timeline.xid(record.ts, xid)
            self._seen(record)

    def _take_rate(self, record: Record) -> None:
        rate = _rate(record.value)
        self._rates[rate.signal] = NewestRate(
            ts=record.ts,
            signal=rate.signal,
            level=rate.level,
            quantity=rate.quantity,
            value=rate.value,
            unit=rate.unit,
        )
        self._seen(record)

    def _take_inventory(self, record: Record) -> None:
        if record.key == self._gpu.node and record.value:
            self._inventory = _inventory(record.value)

    def _take_incident(self, record: Record) -> None:
        if not record.value:
            return
        incident = told.incident(record.value)
        own = [gpu for gpu in incident.gpus if self._is_mine(incident.node, gpu)]
        if not own:
            return
        if incident.into:
            self._incidents.pop(incident.id, None)
        else:
            self._incidents[incident.id] = shown(incident, lambda gpu: self._is_mine(incident.node, gpu))
        self._timeline.incident(record.ts, incident)
        self._seen(record)

    def _take_prediction(self, record: Record) -> None:
        prediction = told.prediction(record.value) if record.value else None
        self._prediction = None
        if prediction:
            fields = {name: getattr(prediction, name) for name in prediction.__struct_fields__}
            self._prediction = PredictionSeen(ts=record.ts, **fields)
        self._timeline.prediction(record.ts, prediction)
        self._seen(record)

    def _take_revalidation(self, record: Record) -> None:
        if not record.value:
            return
        asked = told.revalidation(record.value)
        if asked.detected not in self._revalidations:
            self._timeline.revalidation(record.ts, asked)
        self._revalidations[asked.detected] = RevalidationSeen(ts=record.ts, **msgspec.structs.asdict(asked))
        self._seen(record)

    def _take_answer(self, record: Record) -> None:
        answer = told.revalidated(record.value)
        self._answers[answer.detected] = answer
        self._timeline.revalidated(record.ts, answer)
        self._seen(record)

    def _take_group(self, record: Record) -> None:
        verdict = told.group(record.value) if record.value else None
        uuid = self._gpu.uuid
        if verdict is None or not uuid or uuid not in verdict.gpus:
            self._groups.pop(record.key, None)  # dissolved, or placed elsewhere
            return
        self._groups[record.key] = GroupSeen(
            ts=record.ts,
            group=verdict.group,
            condition=verdict.condition,
            action=verdict.action,
            gpus=len(verdict.gpus),
            blamed=any(uuid in blame.gpus for blame in verdict.blamed),
            issues=[issue.text for issue in verdict.issues if uuid in issue.gpus and issue.text],
        )

    # --- parts of the explanation ------------------------------------------------------------------------------

    def _newest_decision(self) -> records.Decision | None:
        return self._decisions[-1][1] if self._decisions else None

    def _identity(self) -> Identity:
        gpu, inventory = self._gpu, self._inventory
        known = self._newest_decision() or (self._score[1] if self._score else None)
        cluster = known.cluster if known else inventory.cluster if inventory else ""
        machine = inventory or records.Inventory(ts=0, node=gpu.node, gpus=[])
        own = next((each for each in machine.gpus if self._is_mine(machine.node, each)), None)
        return Identity(
            key=gpu.key,
            cluster=cluster,
            node=gpu.node,
            uuid=gpu.uuid,
            bdf=own.bdf if own and own.bdf else gpu.bdf,
            listed=own is not None,
            model=own.model if own else "",
            serial=own.serial if own else "",
            mig=own is not None and own.mig,
            rack=machine.rack,
            driver=machine.driver,
            boot=machine.boot,
        )

    def _decided(self, decision: records.Decision | None) -> Decided | None:
        if decision is None:
            return None
        return Decided(
            ts=self._decisions[-1][0],
            since=self._weight_since,
            weight=decision.weight,
            state=str(decision.state),
            action=str(decision.action),
            condition=str(decision.condition),
            score=decision.score,
            held_by=decision.held_by,
            cause=decision.cause,
            policy=decision.policy,
            incident=decision.incident,
        )

    def _newest_incidents(self) -> list[IncidentSeen]:
        """The open ones first, then the newest."""
        ordered = sorted(self._incidents.values(), key=lambda each: (each.state != "open", -each.opened))
        return ordered[:INCIDENTS_SHOWN]

    def _is_mine(self, node: str, gpu: Gpu | records.GpuInfo) -> bool:
        """Where both know a UUID that decides; else the place does."""
        if gpu.uuid and self._gpu.uuid:
            return gpu.uuid == self._gpu.uuid
        return bool(gpu.bdf) and (node, gpu.bdf) == (self._gpu.node, self._gpu.bdf)

    def _known_otherwise_now(self, record: Record) -> bool:
        """Removed is only what was said of the GPU's place, before its UUID was known."""
        return not record.value and record.key != self._gpu.key

    def _seen(self, record: Record) -> None:
        self._as_of = max(self._as_of, record.ts)
