"""Records as the stages write them, and a ticket system that lives in memory: for the tests beside this file."""

from __future__ import annotations

import msgspec

from schemas import records, topics
from schemas.log import Record
from schemas.records import Eviction, Evidence, Gpu, GpuInfo, Incident, Inventory, Prediction, Revalidated, Revalidation
from schemas.states import Action, CaseState, Family, IncidentState, PredictionAction
from sinks.tickets.tracker import Capabilities, Missing, Ref, Tracker

T = 1_767_603_600_000  # 2026-01-05 09:00:00 UTC
ID = "b1/0000:1b:00/memory/1767603600000"


class Topics:
    """Numbers records as a log does; keeps them, by topic."""

    def __init__(self):
        self.log = []  # (topic, record), in the order in which they were written

    def add(self, topic, key, value):
        offset = sum(1 for other, _ in self.log if other == topic)
        data = b"" if value is None else value if isinstance(value, bytes) else records.encode(value)
        self.log.append((topic, Record(offset, T, key, "kind", data)))

    def compacted(self):
        """Of each key the newest record, as a topic looks that is compacted at once."""
        newest = {(topic, record.key): at for at, (topic, record) in enumerate(self.log)}
        kept = set(newest.values())
        spared = (topics.REVALIDATIONS, topics.REVALIDATED)
        return [each for at, each in enumerate(self.log) if at in kept or each[0] in spared]

    # --- what stages say ------------------------------------------------------------------------------------------

    def case(self, gpu=1, state="draining", action="evict", incident=ID, opened=T, after_s=0, **more):
        known = state in list(CaseState)
        fields = {
            "ts": opened + 1000 * after_s,
            "cluster": "c1",
            "node": "b1",
            "uuid": f"GPU-{gpu}",
            "bdf": f"0000:{gpu:02x}:00",
            "state": CaseState(state) if known else CaseState.DRAINING,
            "action": Action(action),
            "cause": "Xid 48: double-bit ECC error",
            "fault": "xid_48",
            "opened": opened,
            "incident": incident,
            **more,
        }
        eviction = msgspec.to_builtins(Eviction(**fields)) | {"state": state}
        self.add(topics.EVICTIONS, f"GPU-{gpu}", msgspec.json.encode(eviction))

    def incident(self, id=ID, gpus=(1,), **more):
        evidence = [
            Evidence(
                what="xid_48",
                gpu=Gpu(uuid=f"GPU-{gpu}", bdf=f"0000:{gpu:02x}:00"),
                first=T - 1000,
                last=T,
                text="Xid 48: double-bit ECC error",
                raw="NVRM: Xid (PCI:0000:01:00): 48, An uncorrectable double bit error (DBE)",
            )
            for gpu in gpus
        ]
        fields = {
            "ts": T,
            "cluster": "c1",
            "node": "b1",
            "id": id,
            "state": IncidentState.OPEN,
            "family": Family.MEMORY,
            "root": "xid_48",
            "text": "Xid 48: double-bit ECC error, on 0000:01:00",
            "gpus": [each.gpu for each in evidence],
            "opened": T - 1000,
            "updated": T,
            "count": 1,
            "action": Action.EVICT,
            "evidence": evidence,
            **more,
        }
        self.add(topics.INCIDENTS, id, Incident(**fields))

    def order(self, gpu=1, action="order-replacement", **more):
        if action is None:
            self.add(topics.PREDICTIONS, f"GPU-{gpu}", None)
            return
        fields = {
            "ts": T,
            "cluster": "c1",
            "node": "b1",
            "uuid": f"GPU-{gpu}",
            "bdf": f"0000:{gpu:02x}:00",
            "model": "trend",
            "action": PredictionAction(action),
            "hours": 40.0,
            "confidence": 0.8,
            "errors_per_hour": 12.0,
            "text": "correctable errors rise",
            **more,
        }
        self.add(topics.PREDICTIONS, f"GPU-{gpu}", Prediction(**fields))

    def inventory(self, gpus=(1, 2), rack="r7"):
        infos = [
            GpuInfo(uuid=f"GPU-{gpu}", bdf=f"0000:{gpu:02x}:00", model="NVIDIA H100 80GB HBM3", serial=f"16{gpu:02}")
            for gpu in gpus
        ]
        self.add(topics.INVENTORY, "b1", Inventory(ts=T, cluster="c1", node="b1", gpus=infos, rack=rack))

    def check(self, gpu=1, start=T - 33_000, end=T, **more):
        fields = {"ts": T, "cluster": "c1", "node": "b1", "uuid": f"GPU-{gpu}", "bdf": f"0000:{gpu:02x}:00"}
        fields |= {"start": start, "end": end, "detected": T, "since": "clean-scrub", "confidence": "confirmed"}
        self.add(topics.REVALIDATIONS, f"GPU-{gpu}", Revalidation(**fields | more))

    def answer(self, gpu=1, end=T, result="clean", **more):
        fields = {"ts": T, "node": "b1", "uuid": f"GPU-{gpu}", "detected": T, "end": end, "result": result, **more}
        self.add(topics.REVALIDATED, f"GPU-{gpu}", Revalidated(**fields))


class System(Tracker):
    """tickets: key -> (ticket as it was told last, whether it is open there). fails: raised by the next calls."""

    name = "memory"
    capabilities = Capabilities()
    where = "memory"

    def __init__(self):
        self.tickets = {}
        self.calls = []
        self.fails = []

    def _called(self, what, ticket):
        self.calls.append(what)
        if self.fails:
            failure = self.fails.pop(0)
            if failure:
                raise failure

    async def find(self, ticket):
        self._called("find", ticket)
        for key, (known, is_open) in self.tickets.items():
            if known.correlation == ticket.correlation:
                return Ref(key, is_open)
        return None

    async def create(self, ticket, revision):
        self._called("create", ticket)
        key = f"INC{len(self.tickets)}"
        self.tickets[key] = ticket, True
        return Ref(key)

    async def update(self, ref, ticket, before, revision, reopen):
        self._called("reopen" if reopen else "update", ticket)
        if ref.key not in self.tickets:
            raise Missing(ref.key)
        self.tickets[ref.key] = ticket, reopen or self.tickets[ref.key][1]
        return ref

    async def close(self, ref, ticket, before, revision):
        self._called("close", ticket)
        if ref.key not in self.tickets:
            raise Missing(ref.key)
        self.tickets[ref.key] = ticket, False

    def states(self):
        """Of each incident, whether its tickets are open."""
        found = {}
        for ticket, is_open in self.tickets.values():
            found.setdefault(ticket.id, []).append(is_open)
        return found
