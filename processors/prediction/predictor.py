"""What a predictor is: one file in this package, or an entry point, that turns one GPU's errors into a forecast."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec

from processors.discovery import named_classes
from processors.signal import Share
from schemas.states import PredictionAction

WINDOW_H = 168.0  # how far back anybody looks (product specification, section 6)

Hours = Annotated[float, msgspec.Meta(ge=0.0, le=WINDOW_H)]


class Bucket(NamedTuple):
    """Errors of one GPU within one interval of node time: bucket `number` begins at number x its length.

    Counted by increments, so that no restart of a counter shows.
    """

    number: int
    errors: int
    uncorrectable: int


class Evidence(NamedTuple):
    """The newest `WINDOW_H` hours of one GPU, a bucket after the other without holes, oldest first.

    first: number of the first bucket. bucket_h: hours a bucket. counts: correctable errors in each. uncorrectable:
    the same for the others. levels: the raw counter at the end of each, restarts and all; NaN while it was blank.
    running_h: hours since the last bucket ended, where the one that has begun is judged too; it then is the last of
    each list, and that much of it has passed. None: whole buckets only.
    """

    first: int
    bucket_h: float
    counts: list[int]
    uncorrectable: list[int]
    levels: list[float]
    running_h: float | None = None

    def lengths(self) -> list[float]:
        """Hours, of each bucket."""
        whole = [self.bucket_h] * len(self.counts)
        return whole if self.running_h is None else [*whole[:-1], self.running_h]

    def ends(self) -> list[float]:
        """When each bucket ended, or the newest sample in it, in hours since the first began."""
        whole = [(at + 1) * self.bucket_h for at in range(len(self.counts))]
        return whole if self.running_h is None else [*whole[:-1], whole[-1] - self.bucket_h + self.running_h]


class Forecast(NamedTuple):
    """hours: until failure, math.inf if none is foreseen. confidence: 0 to 1; how far it may be trusted is up to the
    predictor to say.
    """

    action: PredictionAction
    hours: float
    confidence: float


NOTHING = Forecast(PredictionAction.MONITOR, math.inf, 0.0)


class Actions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From hours and confidence to an action; the defaults are those of the product specification, section 6.

    confidence_min: below it, nothing is done. evict_within_h, maintenance_within_h, order_within_h: a failure sooner
    than that many hours from now evicts, schedules maintenance, orders a replacement.
    """

    confidence_min: Share = 0.5
    evict_within_h: Hours = 4.0
    maintenance_within_h: Hours = 24.0
    order_within_h: Hours = 168.0

    def __post_init__(self) -> None:
        if not self.evict_within_h <= self.maintenance_within_h <= self.order_within_h:
            raise ValueError("hours must rise from evict_within_h to maintenance_within_h to order_within_h")

    def forecast(self, hours: float, confidence: float) -> Forecast:
        if confidence < self.confidence_min:
            action = PredictionAction.MONITOR
        elif hours < self.evict_within_h:
            action = PredictionAction.EVICT_NOW
        elif hours < self.maintenance_within_h:
            action = PredictionAction.SCHEDULE_MAINTENANCE
        elif hours < self.order_within_h:
            action = PredictionAction.ORDER_REPLACEMENT
        else:
            action = PredictionAction.MONITOR
        return Forecast(action, hours, confidence)


class Predictor(ABC):
    """Foretells from the errors of one GPU. Pure: equal errors give equal forecasts, to the bit.

    Two ways to remember. All are handed the `Evidence` of the last week; who needs no more leaves `begin` and
    `observe` alone. Who sums up a longer past names its `State`, a frozen msgspec.Struct of builtin types: it is
    kept per GPU, saved in checkpoints, and lost when the GPU is replaced. Where there is none yet, as after a change
    of the model, it is made by observing the week that is known; so a change of `State` needs a default for what is
    new, or a new type name, which starts that way.
    """

    name: ClassVar[str]
    State: ClassVar[type[msgspec.Struct] | None] = None

    class Policy(Actions, frozen=True, forbid_unknown_fields=True, kw_only=True):
        """`prediction.NAME` of the policy; every key has a default, and a unit in its name."""

    def begin(self) -> Any:
        """The state of a GPU of which nothing is known; None without `State`."""
        return None

    def observe(self, state: Any, bucket: Bucket, bucket_h: float) -> Any:
        """The state after a bucket with errors in it. Numbers rise; buckets left out had none. Leaves `state` as it is.

        Also called to try what the bucket that has begun would come to, as far as it goes.
        """
        return state

    @abstractmethod
    def forecast(self, evidence: Evidence, state: Any, policy: Any) -> Forecast:
        """What is to come, as of the end of `evidence`. state: after all of its buckets."""


@cache
def discover() -> dict[str, Predictor]:
    """One instance of every predictor, by name: those of this package and of the group `gpu_vitals.predictors`."""
    import processors.prediction

    found = named_classes(processors.prediction, Predictor, "gpu_vitals.predictors")
    return {name: predictor() for name, predictor in found.items()}
