"""What has been told of a node, and what of a round is news: it outlasts connections and engines."""

from __future__ import annotations

import msgspec

from producers.dcgm.health import Health, Incident
from producers.dcgm.inventory import Survey
from producers.dcgm.links import Links
from producers.dcgm.policy import Policies
from producers.dcgm.session import Reading
from producers.dcgm.troubles import Trouble
from producers.dcgm.values import Values
from producers.dcgm.xids import Event, Xids
from producers.source import Observed
from schemas import records
from schemas.fields import XID
from schemas.records import Gpu, GpuInfo

SOURCE = "dcgm"


class Telling:
    """Turns what the engine says into observations, each once.

    A GPU that the engine lists no more stays in the inventory, until another one stands in its slot: it is missing,
    and nobody has taken it out.
    """

    def __init__(self, name: str, node: str, cluster: str) -> None:
        self.xids = Xids()
        self._name = name
        self._node = node
        self._cluster = cluster
        self._health = Health()
        self._links = Links()
        self._known: dict[str, GpuInfo] = {}
        self._inventory: records.Inventory | None = None
        self._trouble = ""

    def connected(self, now_us: int) -> None:
        """There is another connection; now_us: before it was made."""
        self.xids.connected(now_us)
        self._health.connected()

    def status_is_ok(self) -> None:
        """Somebody else has said, or will, that all is well."""
        self._trouble = ""

    def gone(self, survey: Survey) -> list[Gpu]:
        """GPUs that were here, and are not listed any more."""
        listed = {info.uuid for info in survey.gpus.values()}
        return [Gpu(uuid=info.uuid, bdf=info.bdf) for info in self._known.values() if info.uuid not in listed]

    def inventory(self, survey: Survey, *, boot: str, driver_load: str, ts: int) -> list[Observed]:
        listed = {info.uuid: info for info in survey.gpus.values()}
        taken = {info.bdf for info in survey.gpus.values() if info.bdf}
        here = {uuid: info for uuid, info in self._known.items() if uuid in listed or info.bdf not in taken}
        self._known = here | listed
        inventory = records.Inventory(
            ts=0,
            cluster=self._cluster,
            node=self._node,
            gpus=list(self._known.values()),
            driver=survey.driver,
            boot=boot,
            driver_load=driver_load,
        )
        if inventory == self._inventory:
            return []
        self._inventory = inventory
        return [self._say("inventory", msgspec.structs.replace(inventory, ts=ts))]

    def faults(self, reading: Reading, survey: Survey, now_us: int) -> list[Observed]:
        news = self.xids.news(_events(reading.values, survey), _events(reading.events, survey), now_us)
        return [self._say("kernel", self._fault(event)) for event in news]

    def incidents(self, incidents: list[Incident], survey: Survey, ts: int) -> list[Observed]:
        said = []
        for incident in self._health.news(incidents):
            place = survey.place(incident.entity)
            told = records.HealthIncident(
                ts=ts,
                cluster=self._cluster,
                node=self._node,
                uuid=place.gpu.uuid,
                bdf=place.gpu.bdf,
                gi=place.gi,
                ci=place.ci,
                system=incident.system,
                health=incident.health,
                code=incident.code,
                message=incident.message,
            )
            said.append(self._say("health", told))
        return said

    def links(self, states: dict[str, list[str]], gpus: list[Gpu], ts: int) -> list[Observed]:
        news = self._links.news(states, gpus, ts=ts, node=self._node, cluster=self._cluster)
        return [self._say("links", told) for told in news]

    def violations(self, policies: Policies, survey: Survey, trouble: Trouble, ts: int) -> list[Observed]:
        violations, lost = policies.take()
        said = []
        for violation in violations:
            gpu = survey.identity(violation.gpu) if violation.gpu in survey.gpus else Gpu()
            told = records.PolicyViolation(
                ts=violation.ts // 1000 or ts,
                cluster=self._cluster,
                node=self._node,
                uuid=gpu.uuid,
                bdf=gpu.bdf,
                condition=violation.condition,
                value=violation.value,
            )
            said.append(self._say("violation", told))
        if lost:
            detail = f"the host engine reported {lost} policy violations more than can be held"
            said.append(self._say("source", self._status(trouble, detail, ts, lost)))
        return said

    def status(self, trouble: Trouble, ts: int) -> list[Observed]:
        """How the engine fares, if that has changed."""
        if trouble.text == self._trouble:
            return []
        self._trouble = trouble.text
        return [self._say("source", self._status(trouble, trouble.text, ts))]

    def _fault(self, event: Event) -> records.KernelFault:
        return records.KernelFault(
            ts=event.ts // 1000,
            cluster=self._cluster,
            node=self._node,
            fault="xid",
            code=event.code,
            bdf=event.place.gpu.bdf,
            uuid=event.place.gpu.uuid,
            gi=event.place.gi,
            ci=event.place.ci,
            source=SOURCE,
        )

    def _status(self, trouble: Trouble, detail: str, ts: int, lost: int = 0) -> records.SourceStatus:
        return records.SourceStatus(
            ts=ts,
            cluster=self._cluster,
            node=self._node,
            source=self._name,
            state=trouble.state,
            detail=detail,
            lost=lost,
            cause=trouble.cause,
        )

    def _say(self, kind: str, record: records.Observation) -> Observed:
        return Observed(self._node, kind, records.encode(record))


def _events(values: Values, survey: Survey) -> list[Event]:
    """The Xids among `values`. The engine says 0 or blank where there was none."""
    return [
        Event(survey.place(entity), value.ts, int(value.value))
        for entity, row in values.items()
        for value in row.get(XID, ())
        if value.value
    ]
