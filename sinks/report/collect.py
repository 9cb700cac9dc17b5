"""Records in, report out: one pass, in memory that grows with the fleet and its faults, not with the window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from schemas import records, topics
from schemas.counts import counted
from schemas.log import Record
from schemas.records import gpu_key
from schemas.states import Condition
from sinks.report import modes, told
from sinks.report.alerting import AlertCount
from sinks.report.capacity import Lost
from sinks.report.model import Band, FamilyCount, Fleet, Report, XidCount
from sinks.report.window import HOUR_MS, Spans, Window

INCIDENTS, PREDICTIONS = "incidents", "predictions"
# In the order in which they are to be read where they are read one after the other.
TOPICS = (
    topics.INVENTORY,
    topics.XIDS,
    topics.SCORES,
    topics.DECISIONS,
    topics.EVICTIONS,
    INCIDENTS,
    PREDICTIONS,
)
TYPICAL = {  # condition: its band of the score, and its share of the GPUs in a typical week (specification, section 3)
    Condition.HEALTHY: ("0.9-1.0", 0.942),
    Condition.WARNING: ("0.7-0.9", 0.038),
    Condition.DEGRADED: ("0.3-0.7", 0.015),
    Condition.FAILED: ("0.0-0.3", 0.005),
    Condition.UNKNOWN: ("", None),
}
XIDS_LISTED = 20

_eviction = msgspec.json.Decoder(records.Eviction).decode


class Collector:
    """Takes records of TOPICS; of one topic in the order of the log. What is newer than the window is left out."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.records = 0
        self._unreadable: Counter[str] = Counter()
        self._bands = Spans(window)
        self._gpus: dict[str, str] = {}  # judged in the window: key -> node
        self._episodes = modes.Episodes(window)
        self._lost = Lost(window)
        self._alerts = AlertCount(window)
        self._xids: dict[tuple[str, int | None], _XidTally] = {}
        self._inventories: dict[str, told.Inventory] = {}
        self._incidents: dict[str, _Incident] = {}
        self._takers: dict[str, Callable[[Record], None]] = {
            topics.INVENTORY: self._inventory,
            topics.XIDS: self._xid,
            topics.SCORES: self._score,
            topics.DECISIONS: self._decision,
            topics.EVICTIONS: self._case,
            INCIDENTS: self._incident,
            PREDICTIONS: self._prediction,
        }

    def take(self, topic: str, record: Record) -> None:
        if record.ts >= self.window.end:
            return
        self.records += 1
        try:
            self._takers[topic](record)
        except ValueError:  # of a newer version, or no record of ours
            self._unreadable[topic] += 1

    def report(self, source: str, *, incidents_known: bool, notes: list[str]) -> Report:
        """Once, when all has been taken."""
        self._bands.finish()
        self._lost.finish()
        hours = sum(self._bands.hours.values())
        alerts = self._alerts.finish(hours)
        unreadable = [
            f"{counted(count, 'record')} of {topic} could not be read" for topic, count in self._unreadable.items()
        ]
        return Report(
            source=source,
            start=self.window.start,
            end=self.window.end,
            fleet=self._fleet(hours / 24.0),
            bands=self._in_bands(hours),
            modes=modes.judged(self._episodes.counts, hours),
            alerts=alerts,
            capacity=self._lost.capacity(),
            worst_gpus=self._lost.worst_gpus(self._alerts.cases),
            worst_nodes=self._lost.worst_nodes(self._alerts.cases),
            xids=self._counted_xids(),
            incidents=self._families(),
            incidents_known=incidents_known,
            held=self._lost.held,
            held_more=self._lost.held_more,
            records=self.records,
            notes=notes + unreadable,
        )

    # --- topics ------------------------------------------------------------------------------------------------

    def _inventory(self, record: Record) -> None:
        if record.value:
            self._inventories[record.key] = told.inventory(record.value)
        else:
            self._inventories.pop(record.key, None)

    def _xid(self, record: Record) -> None:
        if not self.window.has(record.ts):
            return
        xid = told.xid(record.value)
        key = gpu_key(xid.node, xid.uuid, xid.bdf)
        tally = self._xids.setdefault((xid.fault, xid.code), _XidTally(xid.meaning))
        tally.lines += 1 + xid.repeats
        tally.gpus.add(key)
        if not xid.repeat:
            tally.events += 1
            if xid.fault in ("xid", "bus-loss"):
                self._episodes.xid(key, modes.OFF_THE_BUS if xid.code is None else xid.code, record.ts)

    def _score(self, record: Record) -> None:
        if not record.value:
            self._bands.change(record.key, None, record.ts)
            if "/" in record.key or record.ts < self.window.start:  # known by its UUID now; or gone before
                self._gpus.pop(record.key, None)
            return
        score = told.score(record.value)
        self._bands.change(record.key, score.condition, record.ts)
        self._gpus[record.key] = score.node
        shown = [(reason.signal, reason.level) for reason in score.reasons]
        self._episodes.score(record.key, score.node, shown, record.ts)

    def _decision(self, record: Record) -> None:
        self._lost.take(record.key, told.decision(record.value) if record.value else None, record.ts)

    def _case(self, record: Record) -> None:
        if record.value:
            self._alerts.case(record.key, _eviction(record.value))

    def _prediction(self, record: Record) -> None:
        prediction = told.prediction(record.value) if record.value else None
        self._alerts.prediction(record.key, prediction, record.ts)

    def _incident(self, record: Record) -> None:
        if record.value:
            incident = told.incident(record.value)
            if incident.into:
                self._incidents.pop(incident.id, None)
            else:
                self._incidents[incident.id] = _Incident(incident)

    # --- the report --------------------------------------------------------------------------------------------

    def _fleet(self, gpu_days: float) -> Fleet:
        listed = [gpu for inventory in self._inventories.values() for gpu in inventory.gpus]
        models = Counter(gpu.model or "not named" for gpu in listed)
        drivers: Counter[str] = Counter()
        for inventory in self._inventories.values():
            drivers[inventory.driver or "not named"] += len(inventory.gpus)
        nodes = len(set(self._gpus.values()))
        return Fleet(
            gpus=len(self._gpus),
            nodes=nodes,
            gpu_days=gpu_days,
            listed=len(listed),
            models=dict(sorted(models.items())),
            drivers=dict(sorted(drivers.items())),
        )

    def _in_bands(self, hours: float) -> list[Band]:
        now = self._bands.states()
        found = []
        others = sorted(self._bands.hours.keys() - {str(condition) for condition in TYPICAL})
        for condition, (band, typical) in [*TYPICAL.items(), *((other, ("", None)) for other in others)]:
            own = self._bands.hours.get(condition, 0.0)
            buckets = self._bands.buckets.get(condition)
            over_time = buckets.hours() if buckets else []
            share = own / hours if hours else 0.0
            found.append(Band(str(condition), band, own, share, typical, now.get(condition, 0), over_time))
        return found

    def _counted_xids(self) -> list[XidCount]:
        found = [
            XidCount(_fault_name(fault, code), tally.meaning, tally.events, tally.lines, len(tally.gpus))
            for (fault, code), tally in self._xids.items()
        ]
        return sorted(found, key=lambda count: (-count.events, count.name))[:XIDS_LISTED]

    def _families(self) -> list[FamilyCount]:
        families = sorted({incident.family for incident in self._incidents.values()})
        found = [self._family(family) for family in families]
        return [each for each in found if each.opened or each.open or each.resolved]

    def _family(self, family: str) -> FamilyCount:
        own = [incident for incident in self._incidents.values() if incident.family == family]
        took = [each.resolved - each.opened for each in own if each.resolved and self.window.has(each.resolved)]
        return FamilyCount(
            family=family,
            opened=sum(self.window.has(incident.opened) for incident in own),
            open=sum(not incident.resolved and incident.opened < self.window.end for incident in own),
            resolved=len(took),
            hours_to_resolve=sum(took) / len(took) / HOUR_MS if took else None,
        )


class _XidTally:
    def __init__(self, meaning: str) -> None:
        self.meaning = meaning
        self.events = self.lines = 0
        self.gpus: set[str] = set()


class _Incident:
    __slots__ = ("family", "opened", "resolved")

    def __init__(self, incident: told.Incident) -> None:
        self.family = incident.family
        self.opened = incident.opened
        self.resolved = incident.resolved if incident.state == "resolved" else 0


def _fault_name(fault: str, code: int | None) -> str:
    name = {"xid": "Xid", "sxid": "SXid", "bus-loss": "fallen off the bus"}.get(fault, fault)
    return name if code is None else f"{name} {code}"
