"""The closed vocabularies: what a GPU's condition, its case and an action may be. Defined here and nowhere else."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Level(IntEnum):
    """How bad one signal finds one GPU. `NONE` is "cannot tell" (blank, not sampled), never "fine"."""

    NONE = -1
    FINE = 0
    WARNING = 1
    CRITICAL = 2
    EVICT = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class Condition(StrEnum):
    """The judgement on one GPU. Bands of the score: [0.9, 1], [0.7, 0.9), (0.3, 0.7), [0, 0.3]."""

    HEALTHY = "healthy"
    WARNING = "warning"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @classmethod
    def of_score(cls, score: float) -> Condition:
        """The band that holds `score` (0.0 to 1.0)."""
        if score >= 0.9:
            return cls.HEALTHY
        if score >= 0.7:
            return cls.WARNING
        return cls.DEGRADED if score > 0.3 else cls.FAILED


class CaseState(StrEnum):
    """Where the workflow of one GPU that is taken out stands. A GPU without a case is `IN_SERVICE`."""

    IN_SERVICE = "in-service"
    DRAINING = "draining"
    DRAINED = "drained"


class Step(StrEnum):
    """How far the workflow of a GPU that is taken out has come; `CaseState` is the same for those who only route.

    `FORCING`: the time for requests to finish is over, the scheduler ends what still runs. `DRAINED`: nothing runs any
    more; the next step waits for something. `PROBATION`: diagnosed and found well, watched without traffic.
    `QUARANTINED`: out until an operator decides. `RMA`: to be replaced.
    """

    IN_SERVICE = "in-service"
    DRAINING = "draining"
    FORCING = "forcing"
    DRAINED = "drained"
    REMOVING = "removing"
    RESETTING = "resetting"
    DIAGNOSING = "diagnosing"
    PROBATION = "probation"
    QUARANTINED = "quarantined"
    RMA = "rma"

    @property
    def state(self) -> CaseState:
        if self is Step.IN_SERVICE:
            return CaseState.IN_SERVICE
        return CaseState.DRAINING if self in (Step.DRAINING, Step.FORCING) else CaseState.DRAINED

    @property
    def wanted(self) -> Wanted:
        """What a scheduler is asked for meanwhile."""
        return _WANTED.get(self, Wanted.REMOVED)


class Wanted(StrEnum):
    """What a scheduler is asked to do with a GPU, mildest first. `DRAINED`: route nothing new, let requests finish.

    `FORCED`: end those that run. `REMOVED`: it is not to be used at all, its workers included.
    """

    SERVING = "serving"
    DRAINED = "drained"
    FORCED = "forced"
    REMOVED = "removed"


_WANTED = {
    Step.IN_SERVICE: Wanted.SERVING,
    Step.DRAINING: Wanted.DRAINED,
    Step.FORCING: Wanted.FORCED,
    Step.DRAINED: Wanted.DRAINED,
}


class Family(StrEnum):
    """What the faults of one incident have in common: coarser than the classes of the Xid catalogue."""

    APPLICATION = "application"
    DRIVER = "driver"
    GSP = "gsp"
    MEMORY = "memory"
    BUS = "bus"
    NVLINK = "nvlink"
    THERMAL = "thermal"
    POWER = "power"
    PRESENCE = "presence"
    OTHER = "other"


class IncidentState(StrEnum):
    """`RESOLVED`: its causes are gone, or nothing has come of it for a while. It opens again if its root returns."""

    OPEN = "open"
    RESOLVED = "resolved"


class Action(StrEnum):
    """What shall be done about a GPU, mildest first."""

    NONE = "none"
    MONITOR = "monitor"
    DRAIN = "drain"
    EVICT = "evict"
    EVICT_PERMANENTLY = "evict-permanently"
    REMOVE_NODE = "remove-node"


class PredictionAction(StrEnum):
    """What a forecast of failure asks for, mildest first."""

    MONITOR = "monitor"
    ORDER_REPLACEMENT = "order-replacement"
    SCHEDULE_MAINTENANCE = "schedule-maintenance"
    EVICT_NOW = "evict-now"


class GroupAction(StrEnum):
    """What shall be done about a tensor-parallel group, mildest first (specification, section 8).

    `EVICT_FROM_GROUP`: place the group without the blamed GPU. `REPLACE`: the group cannot work; replace the GPU.
    """

    NONE = "none"
    MONITOR = "monitor"
    SCHEDULE_MAINTENANCE = "schedule-maintenance"
    EVICT_FROM_GROUP = "evict-from-group"
    REPLACE = "replace"
