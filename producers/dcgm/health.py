"""Health watches: each incident is told when it begins, when it gets better or worse, and when it is over."""

from __future__ import annotations

from typing import Any, NamedTuple

from producers.dcgm.values import Entity

EVERYTHING = 0xFFFF_FFFF
SYSTEMS = {
    0x1: "pcie",
    0x2: "nvlink",
    0x4: "pmu",
    0x8: "mcu",
    0x10: "memory",
    0x20: "sm",
    0x40: "inforom",
    0x80: "thermal",
    0x100: "power",
    0x200: "driver",
    0x400: "nvswitch-nonfatal",
    0x800: "nvswitch-fatal",
    0x1000: "connectx",
    EVERYTHING: "all",
}
PASS, HEALTH = "pass", {0: "pass", 10: "warn", 20: "fail"}


class Incident(NamedTuple):
    """What a watch found. code: what it is; the message is for people, and its numbers are not to be trusted."""

    entity: Entity
    system: str
    code: int
    health: str
    message: str

    @property
    def key(self) -> tuple[Entity, str, int]:
        return self.entity, self.system, self.code


def read_health(answer: Any) -> list[Incident]:
    """The incidents in the answer to a check."""
    incidents = []
    for at in range(answer.incidentCount):
        row = answer.incidents[at]
        system = row.system & EVERYTHING
        incidents.append(
            Incident(
                entity=(row.entityInfo.entityGroupId, row.entityInfo.entityId),
                system=SYSTEMS.get(system, f"{system:#x}"),
                code=row.error.code,
                health=HEALTH.get(row.health, str(row.health)),
                message=_message(row.error),
            )
        )
    return incidents


def _message(error: Any) -> str:
    try:
        return str(error.msg)
    except UnicodeDecodeError:  # the bindings decode it, whatever stands there
        return ""


class Health:
    """The incidents that stand. The engine repeats them at each check; the first check after a connection says
    nothing yet, and so ends nothing.
    """

    def __init__(self) -> None:
        self._standing: dict[tuple[Entity, str, int], Incident] = {}
        self._first = True

    def connected(self) -> None:
        """There is another connection."""
        self._first = True

    def news(self, incidents: list[Incident]) -> list[Incident]:
        """Those that are new or have another health, and those that are over."""
        now = {incident.key: incident for incident in incidents if incident.health != PASS}
        begun = [incident for key, incident in now.items() if not self._same(self._standing.get(key), incident)]
        over = [] if self._first else [standing for key, standing in self._standing.items() if key not in now]
        self._standing = (self._standing if self._first else {}) | now
        self._first = False
        return begun + [standing._replace(health=PASS, message="") for standing in over]

    @staticmethod
    def _same(before: Incident | None, now: Incident) -> bool:
        return before is not None and before.health == now.health
