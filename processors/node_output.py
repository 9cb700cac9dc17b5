"""What the node stage says: outputs in the order (offset, tick, GPU), numbered per offset, encoded."""

from __future__ import annotations

from typing import Any, NamedTuple

from processors.board import ACTIONS, Board
from processors.heard import STAGE
from processors.instances import Instances
from processors.policy import unit
from processors.prediction.predictions import Foretold
from processors.prediction.words import in_words
from processors.revalidation import Episode
from processors.roster import Roster
from schemas import records, topics
from schemas.dead_letters import letter
from schemas.log import Output, Record
from schemas.records import encode, gpu_key
from schemas.states import Action, Level
from schemas.sxid import SxidInfo
from schemas.xid import XidInfo

Instance = tuple[int | None, int | None]  # of a MIG GPU: numbers of GPU instance and compute instance
WHOLE: Instance = (None, None)

# What was dropped or corrected; published with the stage's ticks.
COUNTED = ("duplicates", "late", "missing", "clock_corrections", "double_reports", "dead_letters")


class Cause(NamedTuple):
    """The input record behind an output, and the place within it: tick (-1: a timer that it passed), GPU."""

    offset: int
    append_ts: int
    tick: int = 0
    gpu: int = 0


class NodeOutput:
    """Collects outputs in any order; `settle` sorts what was collected since the last time."""

    def __init__(self, roster: Roster, board: Board, instances: Instances) -> None:
        self.partition = 0
        self.roster = roster
        self.board = board
        self.instances = instances
        self.counts = dict.fromkeys(COUNTED, 0)
        self._collected: list[tuple[Cause, str, str, str, bytes, bool]] = []
        self._settled: list[Output] = []
        self._offset, self._ordinal = -1, 0

    def take(self) -> list[Output]:
        settled, self._settled = self._settled, []
        return settled

    def settle(self) -> None:
        self._collected.sort(key=lambda collected: collected[0])
        for cause, topic, key, kind, value, urgent in self._collected:
            if cause.offset != self._offset:
                self._offset, self._ordinal = cause.offset, 0
            self._settled.append(Output(topic, key, kind, value, cause.append_ts, cause.offset, self._ordinal, urgent))
            self._ordinal += 1
        self._collected.clear()

    def _add(self, cause: Cause, topic: str, key: str, kind: str, record: Any, urgent: bool = False) -> None:
        self._collected.append((cause, topic, key, kind, encode(record), urgent))

    def dead_letter(self, record: Record, why: str, data: bytes | None = None) -> None:
        self.counts["dead_letters"] += 1
        source = f"{topics.OBSERVATIONS}/{self.partition}/{record.offset}"
        told = letter(source, record, why, data, node=record.key)
        self._add(Cause(record.offset, record.ts), topics.DEAD_LETTER, source, "dead-letter", told)

    def inventory(self, record: Record, inventory: records.Inventory) -> None:
        cause = Cause(record.offset, record.ts)
        self._add(cause, topics.INVENTORY, inventory.node, "inventory", inventory)

    def forward(self, record: Record, event: records.Record) -> None:
        """Hand what concerns the cluster stage on to it."""
        cause = Cause(record.offset, record.ts, -1)
        self._add(cause, topics.FLEET_EVENTS, record.key, record.kind, event, urgent=True)

    def tick(self, cause: Cause, now_ms: int) -> None:
        tick = records.Tick(ts=now_ms, counts=self.counts)
        self._add(cause._replace(gpu=len(self.roster)), topics.FLEET_EVENTS, "", "tick", tick)

    def xid(
        self,
        cause: Cause,
        fault: records.KernelFault,
        row: int | None,
        ts: int,
        info: XidInfo | SxidInfo,
        *,
        repeat: bool,
        repeats: int = 0,
    ) -> None:
        """`row` None: the fault of a node (a switch), not of a GPU."""
        xid = records.Xid(
            ts=ts,
            cluster=fault.cluster,
            node=fault.node,
            fault=fault.fault,
            code=fault.code,
            uuid=fault.uuid if row is None else self.roster.uuid_of[row],
            bdf=fault.bdf if row is None else self.roster.bdf_of[row],
            gi=fault.gi,
            ci=fault.ci,
            pid=fault.pid,
            process=fault.process,
            message=fault.message,
            previous=fault.previous,
            severity=info.severity,
            response=info.response,
            meaning=info.meaning,
            repeat=repeat,
            repeats=repeats,
            raw=fault.raw,
        )
        self._add(cause, topics.XIDS, xid.node, "xid", xid, urgent=True)

    def incident(self, cause: Cause, incident: records.Incident, *, urgent: bool) -> None:
        self._add(cause, topics.INCIDENTS, incident.id, "incident", incident, urgent)

    def incident_over(self, cause: Cause, id: str) -> None:
        """It is so long over that it will not come back."""
        self._collected.append((cause, topics.INCIDENTS, id, "tombstone", b"", False))

    def rate(self, cause: Cause, row: int, ts: int, at: int, level: int, quantity: str, value: float) -> None:
        rate = records.Rate(
            ts=ts,
            **self._identity(row),
            signal=self.board.signals[at].name,
            level=Level(level).word,
            quantity=quantity,
            value=None if value != value else value,
            unit=unit(quantity),
        )
        self._add(cause, topics.RATES, self.key(row), "rate", rate)

    def revalidation(self, cause: Cause, row: int, ts: int, instance: Instance, episode: Episode) -> None:
        """What was made on the GPU has to be checked again."""
        gi, ci = instance
        told = records.Revalidation(ts=ts, **self._identity(row), gi=gi, ci=ci, **episode._asdict())
        self._add(cause, topics.REVALIDATIONS, self.key(row), "revalidation", told, urgent=True)

    def revalidated(self, record: Record, answer: records.Revalidated) -> None:
        """For those who ask what has been answered: of all that is observed that would take long to find."""
        key = gpu_key(answer.node, answer.uuid, answer.bdf)
        self._add(Cause(record.offset, record.ts, -1), topics.REVALIDATED, key, record.kind, answer, urgent=True)

    def restored(self, cause: Cause, row: int, ts: int, author: str, note: str) -> None:
        """To the cluster stage: the GPU's case is over, though no operator has said so."""
        of = self._identity(row)
        node, cluster = of["node"], of.pop("cluster")
        word = records.Operator(ts=ts, **of, action="restore", author=author, note=note, id=STAGE)
        if cluster != word.cluster:  # a default is told apart by identity: equal records shall be equal bytes
            word.cluster = cluster
        self._add(cause._replace(tick=-1), topics.FLEET_EVENTS, node, "operator", word, urgent=True)

    def verdict(self, cause: Cause, row: int, ts: int, incident: str, *, at_least: Action = Action.NONE) -> None:
        """Score for readers, condition for the cluster stage. at_least: the mildest action that will do."""
        verdict = self.board.verdicts.columns
        score, held = float(verdict["score"][row]), float(verdict["held"][row])
        condition, reasons = self.board.condition(row), self.board.reasons(row)
        action, hard, corruption = self.board.fault(row)
        action = max(action, at_least, key=ACTIONS.index)
        common: dict[str, Any] = {
            "ts": ts,
            **self._identity(row),
            "score": score,
            "held": held,
            "condition": condition,
            "reasons": reasons,
            "instances": (instances := self.instances.of(row, held, condition)),
        }
        self._add(cause, topics.SCORES, self.key(row), "score", records.Score(**common))
        evidence = max([reason.since for reason in reasons], default=ts)
        change = records.ConditionChange(
            **common, action=action, hard=hard, corruption=corruption, evidence=evidence, incident=incident
        )
        urgent = action is not Action.NONE or bool(instances)
        self._add(cause, topics.FLEET_EVENTS, self.key(row), "condition", change, urgent=urgent)

    def prediction(self, cause: Cause, foretold: Foretold, ts: int, policy: Any) -> None:
        """policy: see `processors.prediction.policy`."""
        row, (action, hours, confidence), rate = foretold
        prediction = records.Prediction(
            ts=ts,
            **self._identity(row),
            model=policy.model,
            action=action,
            hours=None if hours == float("inf") else hours,
            confidence=confidence,
            horizon_h=getattr(policy, policy.model).order_within_h,
            errors_per_hour=rate,
            text=in_words(policy.model, foretold),
        )
        self._add(cause, topics.PREDICTIONS, self.key(row), "prediction", prediction)

    def unsaid(self, cause: Cause, key: str) -> None:
        """The prediction under `key` no longer holds: readers drop it."""
        self._collected.append((cause, topics.PREDICTIONS, key, "tombstone", b"", False))

    def gone(self, cause: Cause, row: int, uuid: str, ts: int) -> None:
        """The GPU left its slot: readers drop it, the cluster stage ends its case."""
        self._collected.append((cause, topics.SCORES, uuid, "tombstone", b"", False))
        gone = records.Gone(ts=ts, **(self._identity(row) | {"uuid": uuid}))
        self._add(cause, topics.FLEET_EVENTS, uuid, "gone", gone, urgent=True)

    def renamed(self, cause: Cause, row: int) -> None:
        """The GPU's UUID is known now: nothing more will be said of it by its slot alone."""
        self._collected.append((cause, topics.SCORES, self.slot_key(row), "tombstone", b"", False))

    def slot_key(self, row: int) -> str:
        """What the GPU is known by while its UUID is not."""
        return gpu_key(self.roster.node_of[row], "", self.roster.bdf_of[row])

    def key(self, row: int) -> str:
        roster = self.roster
        return gpu_key(roster.node_of[row], roster.uuid_of[row], roster.bdf_of[row])

    def _identity(self, row: int) -> dict[str, Any]:
        roster = self.roster
        node = roster.node_of[row]
        cluster = roster.nodes[node].cluster
        return {"cluster": cluster, "node": node, "uuid": roster.uuid_of[row], "bdf": roster.bdf_of[row]}
